"""Latency per token: of a prompt, which is processed in one pass, and of decoding, token by token."""

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from nas.distributed.devices import autocast
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from nas.models.routing import Policy

REPEATS = 5
WARM_UPS = 2
"""Runs before the timed runs, which compile kernels and allocate memory."""
FIRST_STEPS = 2
"""Decoding steps that are not timed."""


def prefill_seconds_per_token(
    model: LanguageModel,
    length: int,
    batch_size: int = 1,
    *,
    policy: Policy | None = learnt,
    precision: str = "32-true",
    repeats: int = REPEATS,
) -> float:
    """Return the seconds per token of a prompt: the time up to the next token's logits over the number of tokens.

    Tokens are random, and routers may keep another share of them than of data. `nas.models.policies.at_random` and
    `nas.models.policies.strided` route a given share.

    Args:
        model: model of one architecture, on the device to measure.
        length: length of a prompt in tokens.
        batch_size: number of prompts in a batch. The tokens of all prompts count.
        policy: how router logits become routes; None for the policy of the model.
        precision: precision of the computation, a value of `trainer.precision`.
        repeats: number of timed runs; the median is returned.

    Raises:
        ValueError: a count is below 1.
    """
    _check(length=length, batch_size=batch_size, repeats=repeats)
    decoder, tokens = Decoder(model, policy), _random_tokens(model, batch_size, length)

    def read() -> None:
        decoder.prefill(tokens)

    return median_seconds(tokens.device, precision, lambda: read, repeats=repeats) / tokens.numel()


def decode_seconds_per_token(
    model: LanguageModel,
    context: int,
    tokens: int = 64,
    batch_size: int = 1,
    *,
    policy: Policy | None = learnt,
    precision: str = "32-true",
    repeats: int = REPEATS,
) -> float:
    """Return the seconds per decoded token after a context: the time of ``tokens`` steps over their tokens.

    Args:
        model, batch_size, policy, precision, repeats: as for `prefill_seconds_per_token`.
        context: number of random tokens in the context. The time to process them is not counted, nor that of the first
            two steps, which compile kernels and record the CUDA graph of a step.
        tokens: number of steps that are timed together. A multiple of the chunk size includes the average cost of chunk
            ends.

    Raises:
        ValueError: a count is below 1.
    """
    _check(context=context, tokens=tokens, batch_size=batch_size, repeats=repeats)
    given = _random_tokens(model, batch_size, context + FIRST_STEPS + tokens)
    decoder = Decoder(model, policy)

    def after_context() -> Callable[[], None]:
        decoder.prefill(given[:, :context])
        for token in given[:, context : context + FIRST_STEPS].unbind(1):
            decoder.step(token)

        def decode() -> None:
            for token in given[:, context + FIRST_STEPS :].unbind(1):
                decoder.step(token)

        return decode

    return median_seconds(given.device, precision, after_context, repeats=repeats) / (batch_size * tokens)


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count} is not allowed; it must be at least 1.")


def _random_tokens(model: LanguageModel, batch_size: int, length: int) -> Tensor:
    device = model.embedding.weight.device
    return torch.randint(model.architecture.vocab_size, (batch_size, length), device=device)


def median_seconds(
    device: torch.device,
    precision: str,
    prepare: Callable[[], Callable[[], None]],
    *,
    repeats: int = REPEATS,
    warm_ups: int = WARM_UPS,
    patience: float = math.inf,
) -> float:
    """Return the median time of the functions that ``prepare`` returns, without the time of ``prepare``.

    Args:
        device: device on which they compute.
        precision: precision of the computation, a value of `trainer.precision`.
        prepare: called before each run.
        repeats: number of timed runs.
        warm_ups: number of runs before them.
        patience: seconds of timed runs after which no further run begins.
    """
    seconds: list[float] = []
    with autocast(device, precision):
        for _ in range(warm_ups + repeats):
            run = prepare()
            _wait(device)
            started = time.perf_counter()
            run()
            _wait(device)
            seconds.append(time.perf_counter() - started)
            if sum(seconds[warm_ups:]) > patience:
                break
    return statistics.median(seconds[warm_ups:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
