"""How long a model takes for a token: of a prompt, which it reads at once, and of what it generates one by one."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from nas.distributed.devices import autocast
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.models.mixers import Policy
from nas.models.policies import learnt

REPEATS = 5
WARM_UPS = 2
"""Runs before those that count, in which kernels are compiled and pages of memory are touched first."""


def prefill_seconds_per_token(
    model: LanguageModel,
    length: int,
    batch_size: int = 1,
    *,
    policy: Policy | None = learnt,
    precision: str = "32-true",
    repeats: int = REPEATS,
) -> float:
    """Seconds for a token of a prompt: those of reading it up to the next token's logits, over its tokens.

    Args:
        model: of one architecture, on the device to measure.
        length: tokens of a prompt.
        batch_size: prompts that are read at a time; their tokens count together.
        policy: that routes follow. The tokens are random, of which routers may send another share to softmax than of
            data: `nas.models.policies.at_random` and `nas.models.policies.strided` route a share that is given.
        precision: as `trainer.precision` names it.
        repeats: of which the median is taken.

    Raises:
        ValueError: a number is not at least 1.
    """
    _check(length=length, batch_size=batch_size, repeats=repeats)
    decoder, tokens = Decoder(model, policy), _random_tokens(model, batch_size, length)

    def read() -> None:
        decoder.prefill(tokens)

    return _median_seconds(model, precision, repeats, lambda: read) / tokens.numel()


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
    """Seconds for a token that is generated after a context: those of ``tokens`` steps, over their tokens.

    Args:
        model, batch_size, policy, precision, repeats: as for `prefill_seconds_per_token`.
        context: random tokens that come before, read at once each time; that is not counted.
        tokens: steps that are timed together; a whole number of chunks has its share of their ends.

    Raises:
        ValueError: a number is not at least 1.
    """
    _check(context=context, tokens=tokens, batch_size=batch_size, repeats=repeats)
    given = _random_tokens(model, batch_size, context + tokens)
    decoder = Decoder(model, policy)

    def after_context() -> Callable[[], None]:
        decoder.prefill(given[:, :context])

        def go_on() -> None:
            for token in given[:, context:].unbind(1):
                decoder.step(token)

        return go_on

    return _median_seconds(model, precision, repeats, after_context) / (batch_size * tokens)


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count} is not allowed; it must be at least 1.")


def _random_tokens(model: LanguageModel, batch_size: int, length: int) -> Tensor:
    device = model.embedding.weight.device
    return torch.randint(model.architecture.vocab_size, (batch_size, length), device=device)


def _median_seconds(
    model: LanguageModel, precision: str, repeats: int, prepare: Callable[[], Callable[[], None]]
) -> float:
    """Of what ``prepare`` hands back, over several times; preparing is not counted."""
    device, seconds = model.embedding.weight.device, []
    with autocast(device, precision):
        for _ in range(WARM_UPS + repeats):
            run = prepare()
            _wait(device)
            started = time.perf_counter()
            run()
            _wait(device)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UPS:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
