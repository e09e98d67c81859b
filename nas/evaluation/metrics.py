"""Figures of merit: quality, loss, bits per byte by position, and which of two models is better."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.batch import HIGHER as HIGHER


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of each scored token; logits [n, vocab], targets [n]."""
    return F.cross_entropy(logits.float(), targets, reduction="none")


def quality_of(
    measure: str, loss: Tensor, correct: Tensor, sequences: int, mean: Callable[[Tensor], Tensor] = torch.mean
) -> Tensor:
    """The figure of merit, without waiting for a GPU.

    Args:
        measure: "recall" or "accuracy", the share of scored tokens that are predicted right; "exact_match", the share
            of sequences in which all of them are; "bits_per_byte", the mean loss in bits.
        loss: [n] of each scored token, in nats.
        correct: [n] whether it is predicted right.
        sequences: how many these tokens are of; for exact_match each has as many of them.
        mean: over all values.
    """
    if measure == "bits_per_byte":
        return mean(loss) / math.log(2)
    if measure == "exact_match":
        correct = correct.view(sequences, -1).all(-1)
    return mean(correct.float())


FIRST_SEGMENT = 16
"""Tokens in the first segment of `bits_by_position`."""


def bits_by_position(loss: Tensor, position: Tensor, length: int) -> list[tuple[int, float]]:
    """Bits per byte by position in the context: for each segment where it ends and the mean loss of its tokens in bits.

    Segments end at 16 tokens, 32, 64, and so on, the last at the end of the sequence; one without tokens is left out.

    Args:
        loss: [n] of each scored token, in nats.
        position: [n] of each, in its sequence.
        length: of the sequences, in tokens.
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
"""How much the loss counts beside the quality: less than one more right answer in any set to validate on."""


def merit(measure: str, quality: float, loss: float) -> float:
    """What models are chosen by, larger is better: the quality, and of two that are equal in it the lower loss.

    Minus infinity where training diverged.
    """
    if not (math.isfinite(quality) and math.isfinite(loss)):
        return -math.inf
    return (quality if HIGHER[measure] else -quality) - TIE * loss / (1 + loss)


BETTER = {measure: f"{'higher' if higher else 'lower'} is better" for measure, higher in HIGHER.items()}
