"""Trials of the routes of a mixture on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Iterator

import torch

from nas.kernels.mixed_routes import reference, triton_op
from nas.kernels.self_test import Trial
from nas.kernels.trials import LENGTHS, Draw


def mixed_routes(device: torch.device) -> Iterator[Trial]:
    """Yield calls for numbers of chunks that fill a block and that do not."""
    for length in LENGTHS:
        draw = Draw()
        inputs = {"weights": draw.route(3, length, 2)}
        inputs |= {name: draw.uniform(1).squeeze() for name in ("first", "second", "hybrid")}
        yield Trial(
            inputs,
            lambda **given: dict(zip(("kept", "compressed"), reference.mixed_routes(**given), strict=True)),
            lambda **given: dict(zip(("kept", "compressed"), triton_op.mixed_routes(**given), strict=True)),
        )
