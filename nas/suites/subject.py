"""The subject of an evaluation: a trained model as a predictor of tokens and as an answerer of prompts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nas.evaluation.metrics import token_losses
from nas.models.decoding import generate
from nas.models.language_model import LanguageModel
from nas.models.routing import Policy
from nas.suites.memory import LOGITS, batch_size, in_parts

Advance = Callable[[int], None]
"""Is called with the number of sequences that have just been computed."""


class Predicted(NamedTuple):
    """Predictions of the last T of T + 1 tokens of each sequence.

    Attributes:
        losses: [n, T] float32, cross-entropy of each token in nats.
        hits: [n, T] bool, whether the most probable token is the right one.
    """

    losses: Tensor
    hits: Tensor


class Subject(Protocol):
    """What a suite needs of a model."""

    def predict(self, sequences: Tensor, advance: Advance) -> Predicted:
        """Return the predictions of sequences [n, T + 1] of tokens, each from the tokens before it."""
        ...

    def answer(self, prompts: Sequence[Tensor], count: int, advance: Advance) -> Tensor:
        """Return the most probable continuations [n, count] of prompts [T], token by token."""
        ...


@dataclass(frozen=True)
class ModelSubject:
    """A language model in batches that fit in memory.

    Attributes:
        model: model of one architecture, on its device.
        policy: how router logits become routes.
        autocast: function that returns the autocast context of the computation.
    """

    model: LanguageModel
    policy: Policy
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.embedding.weight.device

    @torch.no_grad()
    def predict(self, sequences: Tensor, advance: Advance) -> Predicted:
        """See `Subject`; logits are computed for some positions at a time, since a vocabulary may be large."""
        count, length = sequences.shape[0], sequences.shape[1] - 1
        losses, hits = torch.empty(count, length), torch.empty(count, length, dtype=torch.bool)

        def compute(start: int, end: int) -> None:
            given = sequences[start:end].to(self.device)
            losses[start:end], hits[start:end] = self._predict(given)
            advance(end - start)

        with self.autocast():
            in_parts(count, batch_size(self.model.architecture, length, self.device, cached=False), compute)
        return Predicted(losses, hits)

    def answer(self, prompts: Sequence[Tensor], count: int, advance: Advance) -> Tensor:
        """See `Subject`."""
        longest = max(map(len, prompts)) + count
        answers = torch.empty(len(prompts), count, dtype=torch.int64)

        def compute(start: int, end: int) -> None:
            given = [prompt.to(self.device) for prompt in prompts[start:end]]
            try:
                answers[start:end] = generate(self.model, given, count, self.policy, temperature=0)
            except ValueError as error:  # the prompts are valid, so that they do not fit in memory
                raise torch.OutOfMemoryError(str(error)) from error
            advance(end - start)

        with self.autocast():
            in_parts(len(prompts), batch_size(self.model.architecture, longest, self.device, cached=True), compute)
        return answers

    def _predict(self, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and hits [B, T] for sequences [B, T + 1] on the device."""
        tokens, targets = sequences[:, :-1], sequences[:, 1:].flatten()
        hidden = self.model.hidden(tokens.contiguous(), self.policy)[0].flatten(0, 1)
        losses, hits = [], []
        block = max(1, LOGITS // self.model.architecture.vocab_size)
        for part, target in zip(hidden.split(block), targets.split(block), strict=True):
            logits = self.model.read(part)
            losses.append(token_losses(logits, target))
            hits.append(logits.argmax(-1) == target)
        return torch.cat(losses).view(tokens.shape), torch.cat(hits).view(tokens.shape)
