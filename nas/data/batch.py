"""Batches, and the interface of every task to training and evaluation."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.documents import Documents

IGNORE = -100
"""Target of a position that is not scored."""

HIGHER = {"recall": True, "accuracy": True, "exact_match": True, "bits_per_byte": False, "bits_per_token": False}
"""Quality metrics that a task may have, and whether higher is better; see `nas.evaluation.metrics.quality_of`."""

BITS = ("bits_per_byte", "bits_per_token")
"""Quality metrics that are the mean loss in bits; the first is for tasks that know the bytes of their tokens."""

BYTE, TOKEN = "byte", "token"
"""What the tokens of a task can be; see `Task`."""

Part = Literal["all", "weights", "choices"]
"""Part of the training data: all of it, or one of two disjoint parts in bilevel training."""


class Scored(NamedTuple):
    """Tokens of a batch, with the positions and targets of its predictions.

    The positions are computed before a batch moves to a GPU: selecting by a mask there would wait for the GPU.

    Attributes:
        tokens: [B, T] int64 input tokens.
        places: [n] int64, the scored positions in the flattened tokens; None where all of them are.
        targets: [n] int64, the token to predict at each of them.
        documents: packed documents; None if each sequence is one.
    """

    tokens: Tensor
    places: Tensor | None
    targets: Tensor
    documents: Documents | None = None

    @property
    def tensors(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Tokens, places and targets: all of a batch without packed documents."""
        return self[:3]

    def on(self, device: torch.device) -> "Scored":
        """Return the batch on a device."""
        places, documents = self.places, self.documents
        return Scored(
            self.tokens.to(device),
            None if places is None else places.to(device),
            self.targets.to(device),
            None if documents is None else documents.to(device),
        )


class Batch(NamedTuple):
    """One batch of sequences.

    Attributes:
        tokens: [B, T] int64 input tokens.
        targets: [B, T] int64, the token to predict at each position, or IGNORE.
        planted: [B, T] bool, True on tokens that later predictions need; None if a task plants no tokens.
        documents: [B, T] int32, index of the document of each token within its sequence; None if all tokens of a
            sequence form one document.
    """

    tokens: Tensor
    targets: Tensor
    planted: Tensor | None
    documents: Tensor | None = None

    def scored(self) -> Scored:
        """Return the tokens, scored positions, targets and documents of the batch: everything that a model needs."""
        targets, documents = self.targets.flatten(), self.packed()
        mask = targets != IGNORE
        if mask.all():
            return Scored(self.tokens, None, targets, documents)
        places = mask.nonzero().flatten()
        return Scored(self.tokens, places, targets[places], documents)

    def packed(self) -> Documents | None:
        """Return the packed documents of the batch; None if each sequence is one document."""
        return None if self.documents is None else Documents.of(self.documents)

    def rows(self, rows: slice) -> "Batch":
        """Return some sequences of the batch."""
        return Batch(*(None if x is None else x[rows] for x in self))  # type: ignore[arg-type]

    def longest_document(self) -> "Batch":
        """Return the longest document of the first sequence alone; without documents, the first sequence."""
        first = self.rows(slice(1))
        if (documents := first.packed()) is None:
            return first
        lengths = documents.cu_seqlens.diff()
        start, end = documents.cu_seqlens[lengths.argmax() :][:2].tolist()
        return Batch(*(None if x is None else x[:, start:end] for x in first[:3]))  # type: ignore[arg-type]


def planted_chunks(planted: Tensor, chunk_size: int, documents: Documents | None = None) -> Tensor:
    """Reduce planted tokens [B, T] to chunks: True where a chunk holds a planted token.

    Returns:
        [B, N]; [1, N] over all documents if there are packed documents.
    """
    if documents is not None:
        own = documents.chunks(chunk_size)
        return (own.of(planted.flatten()) & own.inside).any(-1)[None]
    chunks = F.pad(planted, (0, -planted.shape[1] % chunk_size))
    return chunks.unflatten(1, (-1, chunk_size)).any(-1)


class Task(Protocol):
    """A stream of training batches and fixed validation batches, both functions of the seed alone.

    A task whose tokens are the bytes of UTF-8 text says so by the attribute ``token = "byte"``; see `token_of`. A task
    may have a method ``chance() -> float``, the quality of a model that ignores its input; see `chance_of`. A task
    whose tokens are pieces of text may have ``byte_lengths``, see `byte_lengths_of`, and ``vocabulary``, see
    `nas.data.shards.vocabulary.vocabulary_of`. A task of running text may have ``longer_batch``, see `longer_batch_of`.
    """

    name: str
    vocab_size: int
    quality: str
    """Name of the quality metric, one of `HIGHER`."""

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """Return the training batch of a step (from 0): a function of the seed, the step and the part alone."""
        ...

    def full_batch(self, step: int) -> Batch:
        """Return a batch of training data at full length and difficulty, where training batches vary in either."""
        ...

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """Return the fixed validation batches, with sequences ``length_factor`` times as long as in training."""
        ...

    def selection_batches(self, count: int, length_factor: int = 1) -> list[Batch]:
        """Return ``count`` batches for selection, like the validation batches but disjoint from them.

        A task whose method has no ``length_factor`` is selected on at the training length alone.
        """
        ...

    def token_text(self, token: int) -> str:
        """Return the text that figures and tables show for a token."""
        ...


def token_of(task: Task) -> str:
    """Return what the tokens of a task are: `BYTE` if the task says so, else `TOKEN`."""
    kind: str = getattr(task, "token", TOKEN)
    return kind


def chance_of(task: Task) -> float | None:
    """Return the quality of a model that ignores its input; None if the task does not say it.

    A report says that nothing was learnt if the quality of a model is not better by more than the noise.
    """
    chance: Callable[[], float] | None = getattr(task, "chance", None)
    return None if chance is None else chance()


def longer_batch_of(task: Task) -> Callable[[int, int, Part], Batch] | None:
    """Return the function from (step, length factor, part) to a training batch with as many tokens in longer sequences.

    Its sequences are ``length_factor`` times as long, and so many times fewer. None if a task does not have it.
    """
    longer: Callable[[int, int, Part], Batch] | None = getattr(task, "longer_batch", None)
    return longer


def selection_of(task: Task, count: int, length_factor: int) -> list[Batch]:
    """Return the batches for selection of a task at a multiple of its length.

    At its length it may be a task whose method has no ``length_factor``; see `Task.selection_batches`.
    """
    return task.selection_batches(count) if length_factor == 1 else task.selection_batches(count, length_factor)


def byte_lengths_of(task: Task) -> Tensor | None:
    """Return the UTF-8 bytes of each token, int64 [vocab_size]; None if the task does not say them.

    With them the quality ``bits_per_byte`` is the loss over the bytes of the predicted tokens. Without them each token
    is one byte.
    """
    lengths: Tensor | None = getattr(task, "byte_lengths", None)
    return lengths
