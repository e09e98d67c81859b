"""Measurements of decoding: the time of a token after a long text, in whole models and in batches."""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from experiments.kernel_speed.models import model_of
from experiments.kernel_speed.operations import SHARE
from experiments.kernel_speed.rows import Bench, Case, Check, Row, ratio
from experiments.kernel_speed.timing import MIB, Clock, DeviceClock, HostClock, Value, interleaved, reason, recover
from nas.budget.cost import kv_bytes
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.models.policies import strided
from nas.models.routing import Policy
from nas.search_spaces.architecture import Architecture

TOKEN_LIMIT_MS = 2.0
SPEED_UP_LIMIT = 3.0
HYBRID, LINEAR, SOFTMAX = f"hybrid, p={SHARE:g}", "linear everywhere", "softmax everywhere"
ACTIVATIONS_KIB = 40
"""Memory that a token of a prompt needs beside the cache, a rough upper bound."""


class WaitingClock(DeviceClock):
    """Wall time of a call up to the end of its work on the GPU, as a user waits for it."""

    def lap(self, call: Callable[[], object]) -> Callable[[], float]:
        self.finish()
        started = time.perf_counter()
        call()
        self.finish()
        elapsed = 1e3 * (time.perf_counter() - started)
        return lambda: elapsed


def decode(bench: Bench) -> Iterator[Case]:
    """Decoding with the 340M model after a long text, token by token, all models in the same engine.

    "Hybrid" routes in six layers and is linear in 15, with p = 0.25 of the chunks kept at even distances. The others
    have one mixer in all 21 layers. The time is a user's: it includes the host, and the average cost of the end of a
    chunk. "Floor" is the time to read the weights and the cache once. Prompts of one length are read together, prompts
    of different lengths one after the other; a step then serves all of them.
    """
    for batch in bench.shapes.decode_batches:
        for context in bench.shapes.contexts:
            yield _case(bench, f"after {context} tokens, batch {batch}", [context] * batch)
            if batch > 1:
                shorter = context // (2 * batch) + 1  # odd, so that chunks end at different steps
                lengths = [context - index * shorter for index in range(batch)]
                yield _case(bench, f"after {lengths[-1]} to {context} tokens, batch {batch}", lengths)


def _case(bench: Bench, name: str, lengths: Sequence[int]) -> Case:
    return Case(name, functools.partial(_decode, bench, name, lengths))


def architectures(bench: Bench) -> dict[str, tuple[Architecture, Policy | None]]:
    """Return the compared models with their policies."""
    a = bench.shapes.architecture
    return {
        HYBRID: (a, strided(SHARE)),
        LINEAR: (a.with_mixer("linear"), None),
        SOFTMAX: (a.with_mixer("softmax"), None),
    }


def _decode(bench: Bench, case: str, lengths: Sequence[int]) -> Iterator[Row]:
    """Measure decoding after prompts of these lengths."""
    clock: Clock = WaitingClock(bench.clock.device) if bench.on_device else HostClock()
    tokens = functools.partial(torch.randint, bench.shapes.architecture.vocab_size, device=bench.clock.device)
    prompts = [tokens((length,)) for length in lengths]
    decoders: dict[str, Decoder] = {}
    weights: dict[str, int] = {}
    failures: dict[str, Value] = {}
    for name, (architecture, policy) in architectures(bench).items():
        try:
            require_memory(bench, architecture, lengths)
            model = model_of(bench, architecture)
            decoders[name], weights[name] = Decoder(model, policy), weight_bytes(model)
            decoders[name].prefill(prompts)
        except Exception as error:
            decoders.pop(name, None)
            failures[name] = Value(failure=reason(error))
            recover(clock)
    kept = {name: decoder.bytes_in_use for name, decoder in decoders.items()}
    chunk = bench.shapes.architecture.chunk_size
    steps = {name: functools.partial(_steps, one, tokens((chunk, len(lengths)))) for name, one in decoders.items()}
    times = {name: _each(value, chunk) for name, value in interleaved(steps, clock, bench.seconds).items()} | failures
    yield Row(case, "ms a token", times, checks=_checks(times, lengths))
    floors = {name: Value(1e3 * (weights[name] + size) / bench.ceilings.bytes) for name, size in kept.items()}
    yield Row(case, "floor, ms a token", floors)
    yield Row(case, "cache MiB", {name: Value(size / MIB) for name, size in kept.items()})
    reads = {name: functools.partial(_read, decoder, prompts) for name, decoder in decoders.items()}
    yield Row(case, "prompts ms", interleaved(reads, clock, bench.seconds) | failures)


def _checks(times: dict[str, Value], lengths: Sequence[int]) -> tuple[Check, ...]:
    """Return the targets of one sequence: a time, and after 128k tokens a speed-up over softmax everywhere."""
    if len(lengths) > 1:
        return ()
    found = [Check("hybrid, ms a token,", times[HYBRID].value, TOKEN_LIMIT_MS)]
    if lengths[0] > 2**16:
        faster = ratio(times[SOFTMAX].value, times[HYBRID].value)
        found.append(Check("softmax everywhere / hybrid", faster, SPEED_UP_LIMIT, at_least=True))
    return tuple(found)


def _steps(decoder: Decoder, tokens: Tensor, number: int) -> None:
    """Decode a whole chunk, so that each call contains the end of one."""
    for token in tokens:
        decoder.step(token)


def _read(decoder: Decoder, prompts: list[Tensor], number: int) -> None:
    decoder.prefill(prompts)


def _each(value: Value, tokens: int) -> Value:
    """Return the value of a token for the value of several."""
    if value.value is None:
        return value
    return Value(value.value / tokens, value.spread, value.rounds)


def weight_bytes(model: LanguageModel) -> int:
    """Return the bytes of all weights that a token reads: of an embedding with a head of its own only one row."""
    sizes = {name: x.numel() * x.element_size() for name, x in model.named_parameters()}
    if not model.architecture.tie_embeddings:
        sizes.pop("embedding.weight")
    return sum(sizes.values())


def require_memory(bench: Bench, architecture: Architecture, lengths: Sequence[int]) -> None:
    """Raise a MemoryError if the caches would not fit beside the activations of the prompts that are read together."""
    if not bench.on_device:
        return
    shares = dict.fromkeys(architecture.routed_layers, SHARE)
    cache = sum(kv_bytes(architecture, shares, length) for length in lengths) / 2**30
    together = max(length * len(list(same)) for length, same in itertools.groupby(lengths))
    activations = together * ACTIVATIONS_KIB / 2**20
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(bench.clock.device)[0] / 2**30
    if cache + activations > free:
        raise MemoryError(
            f"a cache of {cache:.0f} GiB and activations of {activations:.0f} GiB do not fit into the {free:.0f} GiB "
            "that are free"
        )
