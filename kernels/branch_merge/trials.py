"""Trials of the merge of the branches on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.kernels.branch_merge import reference, triton_op
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import LENGTHS, Draw


def branch_merge(device: torch.device, channels: int, V: int, pair: int, mixed: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles, for heads of V channels.

    Without ``pair`` it is for softmax alone, and with ``mixed`` for a mixture.
    """
    heads = channels // V

    def by(operation: Callable[..., Tensor]) -> Function:
        def run(o: Tensor, weight: Tensor, gate: Tensor, **other: Tensor) -> dict[str, Tensor]:
            second, second_weight, scores = (other.get(name) for name in ("linear_o", "linear_weight", "scores"))
            return {"y": operation(o, second, weight, second_weight, scores, gate, other.get("mixture"), 1e-6)}

        return run

    for length in LENGTHS:
        draw = Draw()
        inputs = {
            "o": draw.normal(1, length, heads, V),
            "weight": 1 + draw.uniform(V),
            "gate": draw.normal(1, length, channels),
        }
        if pair:
            inputs |= {
                "linear_o": draw.normal(1, length, heads, V),
                "linear_weight": 1 + draw.uniform(V),
                "scores": draw.normal(1, length, 2 * heads),
            }
        if mixed:
            inputs["mixture"] = draw.uniform(3)
        yield Trial(inputs, by(reference.branch_merge), by(triton_op.branch_merge))
