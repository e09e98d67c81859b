"""Metrics of a model: quality, loss, bits by position, and a merit that ranks models."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.batch import BITS as BITS
from nas.data.batch import HIGHER as HIGHER
from nas.relaxations import precise


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy [n] of each scored token, in nats, for logits [n, vocab] and targets [n].

    It is computed in float32, or in float64 for float64 logits.
    """
    return F.cross_entropy(precise(logits), targets, reduction="none")


def quality_of(
    measure: str, loss: Tensor, correct: Tensor, sequences: int, mean: Callable[[Tensor], Tensor] = torch.mean
) -> Tensor:
    """Return the quality, a scalar tensor, without waiting for a GPU.

    Args:
        measure: "recall" or "accuracy", the fraction of scored tokens that are predicted correctly; "exact_match", the
            fraction of sequences with only correct tokens; "bits_per_byte" or "bits_per_token", the mean loss in
            bits.
        loss: [n] loss of each scored token, in nats.
        correct: [n] whether each scored token is predicted correctly.
        sequences: number of sequences. For exact_match, all sequences have the same number of scored tokens.
        mean: function that returns the mean of a tensor, over all processes if there are several.
    """
    if measure in BITS:
        return mean(loss) / math.log(2)
    if measure == "exact_match":
        correct = correct.view(sequences, -1).all(-1)
    return mean(correct.float())


def quality_by_sequence(measure: str, loss: Tensor, correct: Tensor, sequence: Tensor, sequences: int) -> list[float]:
    """Return the quality of each sequence; their mean is `quality_of` if all have as many scored tokens.

    Args:
        measure: quality measure; see `quality_of`.
        loss: [n] loss of each scored token, in nats.
        correct: [n] whether each scored token is predicted correctly.
        sequence: [n] index of the sequence of each scored token; each sequence has at least one.
        sequences: number of sequences.
    """
    values = loss.double() / math.log(2) if measure in BITS else correct.double()
    reduced = "amin" if measure == "exact_match" else "mean"
    each: list[float] = (
        values.new_zeros(sequences).scatter_reduce(0, sequence, values, reduced, include_self=False).tolist()
    )
    return each


FIRST_SEGMENT = 16
"""Tokens in the first segment of `bits_by_position`."""


def bits_by_position(loss: Tensor, position: Tensor, length: int) -> list[tuple[int, float]]:
    """Return the bits per token by position in the context: for each segment, its end and the mean loss in bits.

    Segments end at 16 tokens, 32, 64, and so on. The last ends at the end of the sequence. Segments without scored
    tokens are left out.

    Args:
        loss: [n] loss of each scored token, in nats.
        position: [n] position of each scored token in its sequence.
        length: length of the sequences in tokens.
    """
    segments, start, end = [], 0, FIRST_SEGMENT
    while start < length:
        end = min(end, length)
        within = loss[(start <= position) & (position < end)]
        if len(within):
            segments.append((end, within.mean().item() / math.log(2)))
        start, end = end, 2 * end
    return segments


TIE = 1e-7
"""Weight of the loss beside the quality: less than one more correct token in any validation set."""


def merit(measure: str, quality: float, loss: float) -> float:
    """Return the value that ranks models, larger is better: the quality, with ties broken by the lower loss.

    It is minus infinity if training diverged.
    """
    if not (math.isfinite(quality) and math.isfinite(loss)):
        return -math.inf
    return (quality if HIGHER[measure] else -quality) - TIE * loss / (1 + loss)


DIRECTION = {measure: f"{'higher' if higher else 'lower'} is better" for measure, higher in HIGHER.items()}
