"""Generation with a decoder: the text of each sequence is handed on as soon as it is certain, and the time is taken."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from nas.evaluation.latency import FIRST_STEPS
from nas.generation.continuation import Continuation
from nas.generation.sampling import Sampler
from nas.models.decoding import Decoder

Show = Callable[[int, str], None]
"""Takes the index of a sequence and a further part of its text."""


class Speed(NamedTuple):
    """Tokens and wall time of a prompt and of a generation.

    Attributes:
        prompt_tokens: tokens of all prompts.
        prompt_seconds: seconds until the first token of each continuation.
        tokens: tokens of all continuations.
        timed_tokens: those of the timed steps, which come after `FIRST_STEPS`.
        seconds: seconds of the timed steps.
    """

    prompt_tokens: int
    prompt_seconds: float
    tokens: int
    timed_tokens: int
    seconds: float

    def __str__(self) -> str:
        """Return the speed in a line for people."""
        made = f"; generation: {self.tokens:,} token{'s' * (self.tokens != 1)}"
        rate = f", {self.timed_tokens / self.seconds:,.0f} tokens/s" if self.timed_tokens else ""
        return f"prompt: {_rate(self.prompt_tokens, self.prompt_seconds)}{made}{rate}"


def _rate(tokens: int, seconds: float) -> str:
    return f"{tokens:,} token{'s' * (tokens != 1)}, {tokens / seconds:,.0f} tokens/s"


def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    sampler: Sampler,
    continuations: Sequence[Continuation],
    most: int,
    device: torch.device,
    show: Show,
) -> Speed:
    """Continue prompts as one batch until each continuation is finished, or has its largest number of tokens.

    Args:
        decoder: decoder of the model.
        prompts: tokens of each prompt.
        sampler: draws the tokens.
        continuations: text of each sequence.
        most: largest number of tokens of a continuation, at least 1.
        device: device of the model.
        show: called with each further part of a text.

    Raises:
        ValueError: the prompts do not fit in memory.
    """
    started = time.perf_counter()
    token = sampler(decoder.prefill([torch.tensor(prompt, device=device) for prompt in prompts]))
    values, made, count, untimed = token.tolist(), 0, 1, 0
    begun = prefilled = time.perf_counter()
    while True:
        for row, (value, own) in enumerate(zip(values, continuations, strict=True)):
            if not own.finished:
                made += 1
                text = own.add(value)
                show(row, text + own.close() if count == most or own.finished else text)
        if count <= 1 + FIRST_STEPS:
            begun, untimed = time.perf_counter(), made
        if count == most or all(own.finished for own in continuations):
            break
        count += 1
        token = sampler(decoder.step(token))
        values = token.tolist()  # waits for the device
    return Speed(sum(map(len, prompts)), prefilled - started, made, made - untimed, time.perf_counter() - begun)
