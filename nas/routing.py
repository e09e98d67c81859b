"""The routing of one sequence, as people look at it: which of its chunks went to softmax."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nas.data import Batch, Task
from nas.data.batch import planted_chunks
from nas.evaluation import softmax_weight
from nas.models.language_model import LanguageModel
from nas.models.mixers import Path, Policy
from nas.models.router import OPERATIONS
from nas.relaxations import precise
from nas.report import RoutingMap


@torch.no_grad()
def routing_map(
    model: LanguageModel, task: Task, policy: Policy | None, paths: Sequence[Path] | None = None
) -> RoutingMap | None:
    """The routing of the first validation sequence; None if nothing is routed or a score is not finite.

    Layers of different chunk sizes are shown in chunks of their greatest common divisor.
    """
    batch = _first(task.validation_batches()[0])
    output = model(batch.tokens.to(model.embedding.weight.device), policy, None, paths)
    routing = {layer: decided for layer, (decided,) in output.routing.items()}
    if not routing or not all(decided.logits.isfinite().all() for decided in routing.values()):
        return None
    softmax, grain = OPERATIONS.index("softmax"), math.gcd(*(decided.chunk_size for decided in routing.values()))
    chunks = -(-batch.tokens.shape[1] // grain)

    def shown(per_chunk: Tensor, chunk_size: int) -> list[list[float]]:  # [N, R]
        return per_chunk.repeat_interleave(chunk_size // grain, dim=0)[:chunks].T.tolist()

    return RoutingMap(
        tokens=[task.token_text(token) for token in batch.tokens[0].tolist()],
        chunk_size=grain,
        layers={
            layer: shown(precise(decided.logits).softmax(-1)[0, ..., softmax], decided.chunk_size)
            for layer, decided in routing.items()
        },
        chosen={layer: shown(softmax_weight(decided)[0], decided.chunk_size) for layer, decided in routing.items()},
        planted=None if batch.planted is None else planted_chunks(batch.planted, grain)[0].tolist(),
    )


def _first(batch: Batch) -> Batch:
    """The first sequence of a batch, as a batch."""
    return Batch(batch.tokens[:1], batch.targets[:1], None if batch.planted is None else batch.planted[:1])
