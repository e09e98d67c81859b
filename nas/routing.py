"""The routing of one sequence, as people look at it: which of its chunks went to softmax."""

import torch

from nas.data import Batch, Task
from nas.data.recall import planted_chunks
from nas.evaluation import softmax_weight
from nas.models.language_model import LanguageModel
from nas.models.mixers import Policy
from nas.models.router import OPERATIONS
from nas.relaxations import precise
from nas.report import RoutingMap


@torch.no_grad()
def routing_map(model: LanguageModel, task: Task, policy: Policy | None) -> RoutingMap | None:
    """The routing of the first validation sequence; None if nothing is routed or a score is not finite."""
    batch = _first(task.validation_batches()[0])
    output = model(batch.tokens.to(model.embedding.weight.device), policy)
    routing = output.routing
    if not routing or not all(decided.logits.isfinite().all() for decided in routing.values()):
        return None
    softmax = OPERATIONS.index("softmax")
    probabilities = {layer: precise(decided.logits).softmax(-1)[0, ..., softmax] for layer, decided in routing.items()}
    chunk_size = model.architecture.chunk_size
    return RoutingMap(
        tokens=[task.token_text(token) for token in batch.tokens[0].tolist()],
        chunk_size=chunk_size,
        layers={layer: probability.T.tolist() for layer, probability in probabilities.items()},
        chosen={layer: softmax_weight(decided)[0].T.tolist() for layer, decided in routing.items()},
        planted=None if batch.planted is None else planted_chunks(batch.planted, chunk_size)[0].tolist(),
    )


def _first(batch: Batch) -> Batch:
    """The first sequence of a batch, as a batch."""
    return Batch(batch.tokens[:1], batch.targets[:1], None if batch.planted is None else batch.planted[:1])
