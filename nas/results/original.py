"""The pretrained model that a search started from, evaluated beside the result."""

from typing import NamedTuple

from nas.budget.cost import LONG, kv_bytes
from nas.config import SearchConfig
from nas.data import Task, byte_lengths_of
from nas.errors import UserError
from nas.evaluation.evaluate import Evaluation, evaluate
from nas.models.language_model import LanguageModel
from nas.models.operations import dense_share
from nas.models.routing import first_alone
from nas.pretrained.original import load_original
from nas.runs.metrics import Figures, Row
from nas.supernet.discretised import Discretised, Validation
from nas.training.module import TrainingModule

ORIGINAL = "original"
"""Name of the row."""


class Original(NamedTuple):
    """The original beside the result.

    Attributes:
        row: its figures; None if there is no original, or if it cannot be read.
        notes: sentences to read before the figures.
    """

    row: Row | None = None
    notes: tuple[str, ...] = ()


def evaluate_original(module: TrainingModule, discretised: Discretised, validation: Validation) -> Original:
    """Evaluate the pretrained model of a search on the validation batches, up to the context of its positions.

    Args:
        module: module after training; without a search from a pretrained model there is no original.
        discretised: result of the search, with which the original is compared.
        validation: batches by length factor.
    """
    config = module.config
    if not isinstance(config, SearchConfig) or config.model.path is None:
        return Original()
    try:
        model = load_original(discretised.architecture, config.model.path)
    except UserError as error:
        return Original(notes=(f"The original model could not be evaluated: {error}",))
    backbone = model.architecture.backbone
    assert backbone is not None
    model = model.to(module.model.embedding.weight.device)
    counted = discretised.supernet.counted
    share = sum(dense_share(model.architecture.layers[layer]) for layer in counted) / len(counted)
    cache = kv_bytes(model.architecture, {}, LONG)

    def figures(factor: int) -> Figures:
        found = _evaluated(model, module.task, validation, factor)
        return Figures.of(found, share, discretised.evaluations[factor], cache)

    within = [factor for factor in validation if factor * config.data.length <= backbone.context]
    beyond = [str(factor) for factor in validation if factor not in within]
    note = (
        f"The original model is not evaluated at {', '.join(beyond)} times the length: its positions are made for "
        f"{backbone.context:,} tokens."
    )
    return Original(Row(ORIGINAL, {factor: figures(factor) for factor in within}), (note,) if beyond else ())


def _evaluated(model: LanguageModel, task: Task, validation: Validation, factor: int) -> Evaluation:
    return evaluate(model, validation[factor], task.quality, first_alone, byte_lengths=byte_lengths_of(task))
