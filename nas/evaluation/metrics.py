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
    measure: str,
    loss: Tensor,
    correct: Tensor,
    sequences: int,
    mean: Callable[[Tensor], Tensor] = torch.mean,
    bytes_per_token: Tensor | float | None = None,
) -> Tensor:
    """Return the quality, a scalar tensor, without waiting for a GPU.

    Args:
        measure: "recall" or "accuracy", the fraction of scored tokens that are predicted correctly; "exact_match", the
            fraction of sequences with only correct tokens; "bits_per_byte" or "bits_per_token", the mean loss in
            bits, of a byte or of a token.
        loss: [n] loss of each scored token, in nats.
        correct: [n] whether each scored token is predicted correctly.
        sequences: number of sequences. For exact_match, all sequences have the same number of scored tokens.
        mean: function that returns the mean of a tensor, over all processes if there are several.
        bytes_per_token: mean number of bytes of the scored tokens, over all processes; None if each is one byte, and
            for other measures.
    """
    if measure in BITS:
        bits = mean(loss) / math.log(2)
        return bits if bytes_per_token is None else bits / bytes_per_token
    if measure == "exact_match":
        correct = correct.view(sequences, len(correct) // sequences).all(-1)
    return mean(correct.float())


def quality_by_sequence(
    measure: str, loss: Tensor, correct: Tensor, sequence: Tensor, sequences: int, lengths: Tensor | None = None
) -> list[float]:
    """Return the quality of each sequence that has a scored token.

    Their mean is `quality_of` if all have as many scored tokens.

    With ``lengths`` it is the linear part of the ratio of loss to bytes, whose mean is `quality_of` and whose variance
    is that of the ratio.

    Args:
        measure: quality measure; see `quality_of`.
        loss: [n] loss of each scored token, in nats.
        correct: [n] whether each scored token is predicted correctly.
        sequence: [n] index of the sequence of each scored token.
        sequences: number of sequences.
        lengths: [n] bytes of each scored token; None if each is one byte, and for other measures.
    """
    values = loss.double() / math.log(2) if measure in BITS else correct.double()
    scored = sequence.bincount(minlength=sequences) > 0
    if lengths is not None:
        bits, sizes = (
            values.new_zeros(sequences).index_add(0, sequence, each)[scored]
            for each in (values, lengths.to(values.dtype))
        )
        ratio = bits.sum() / sizes.sum()
        linear: list[float] = (ratio + (bits - ratio * sizes) / sizes.mean()).tolist()
        return linear
    reduced = "amin" if measure == "exact_match" else "mean"
    each = values.new_zeros(sequences).scatter_reduce(0, sequence, values, reduced, include_self=False)
    found: list[float] = each[scored].tolist()
    return found


FIRST_SEGMENT = 16
"""Tokens in the first segment of positions or distances."""


def segment_ends(length: int, parts: int = 1) -> list[int]:
    """Return the ends of segments of ``length`` tokens: 16, 32, 64 and so on, the last at the end.

    Args:
        length: number of tokens.
        parts: number of segments between a power of two and the next.

    >>> segment_ends(100), segment_ends(40, 2)
    ([16, 32, 64, 100], [16, 23, 32, 40])
    """
    ends, index = [], 0
    while (end := round(FIRST_SEGMENT * 2 ** (index / parts))) < length:
        ends.append(end)
        index += 1
    return [*ends, length]


def loss_by_position(
    loss: Tensor, position: Tensor, length: int, lengths: Tensor | None = None
) -> list[tuple[int, float]]:
    """Return the mean loss by position in the context: for each segment, its end and the loss in nats.

    The segments are those of `segment_ends`. Segments without scored tokens are left out.

    Args:
        loss: [n] loss of each scored token, in nats.
        position: [n] position of each scored token in its sequence.
        length: length of the sequences in tokens.
        lengths: [n] bytes of each scored token, for the loss of a byte; None for the loss of a token.
    """
    ends = segment_ends(length)
    segments = []
    for start, end in zip([0, *ends], ends, strict=False):
        inside = (start <= position) & (position < end)
        within = loss[inside]
        size = len(within) if lengths is None else int(lengths[inside].sum())
        if size:
            mean = within.mean().item()
            segments.append((end, mean if lengths is None else mean * len(within) / size))
    return segments


def bits_by_position(
    loss: Tensor, position: Tensor, length: int, lengths: Tensor | None = None
) -> list[tuple[int, float]]:
    """Return the bits per byte or token by position in the context, with the arguments of `loss_by_position`."""
    return [(end, mean / math.log(2)) for end, mean in loss_by_position(loss, position, length, lengths)]


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
