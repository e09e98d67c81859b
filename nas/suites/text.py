"""Suite text: bits per byte of held-out documents, by position in the sequence."""

import math

import torch
from torch import Tensor

from nas.data.shards.vocabulary import Vocabulary
from nas.evaluation.metrics import segment_ends
from nas.suites.result import Result, Score, Segment, by_segment
from nas.suites.subject import Advance, Subject

BITS = "bits per byte"
FINE = 4
"""Points of the curve between a power of two and the next."""
BY_POSITION, CURVE = "by position", "curve"


def evaluate(subject: Subject, sequences: Tensor, vocabulary: Vocabulary, advance: Advance) -> Result:
    """Return bits per byte, and per token if tokens are no bytes, and bits per byte by position.

    Bits per byte are the loss of all tokens over the bytes of all tokens. End tokens count with their loss and no
    bytes. The chance is that of a model that knows how frequent each token of the sequences is.

    Args:
        subject: the model.
        sequences: [n, T + 1] tokens.
        vocabulary: vocabulary of the tokens.
        advance: see `nas.suites.subject.Advance`.
    """
    targets = sequences[:, 1:]
    count, length = targets.shape
    bits = subject.predict(sequences, advance).losses.double() / math.log(2)
    sizes = torch.from_numpy(vocabulary.byte_lengths)[targets].double()
    place, row = torch.arange(length).repeat(count), torch.arange(count).repeat_interleave(length)

    def by_position(parts: int) -> list[Segment]:
        return by_segment(bits.flatten(), sizes.flatten(), place, row, segment_ends(length, parts))

    scores = {BITS: Score.of(bits.sum(1), sizes.sum(1), targets.numel())}
    if vocabulary.byte_lengths.max() > 1:
        scores["bits per token"] = Score.of(bits.sum(1), torch.full((count,), length), targets.numel())
    return Result(
        suite="text",
        part="",
        length=length,
        sequences=count,
        scores=scores,
        chance={BITS: entropy(targets) * targets.numel() / float(sizes.sum())},
        curves={BY_POSITION: by_position(1), CURVE: by_position(FINE)},
    )


def entropy(tokens: Tensor) -> float:
    """Return the entropy of the frequencies of tokens, in bits."""
    counts = torch.bincount(tokens.flatten()).double()
    frequency = counts[counts > 0] / counts.sum()
    return -(frequency * frequency.log2()).sum().item()
