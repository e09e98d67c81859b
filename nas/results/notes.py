"""Notes on a run: sentences to read before its figures."""

import math

from nas.budget.cost import UNITS
from nas.models.routing import first_alone
from nas.results.failure import NOTHING
from nas.results.training_record import TrainingRecord
from nas.runs.metrics import BudgetUse, Searched
from nas.supernet.architecture_logits import ROUNDING, TOLERANCE
from nas.supernet.discretised import Discretised


def notes(
    discretised: Discretised,
    budget: BudgetUse,
    training: TrainingRecord,
    learns: bool,
    searched: Searched | None,
    failed: bool = False,
) -> list[str]:
    """Return the notes for the terminal, the report and `metrics.json`.

    Args:
        discretised: trained model after discretising.
        budget: budget and the cost of the model.
        training: steps of the training.
        learns: whether architecture logits learn.
        searched: result of the searcher; None if no searcher ran.
        failed: whether the verdict already says that the search has failed.
    """
    return [
        *_routing_not_begun(discretised),
        *_stopped(training),
        *([] if failed else _few_chunks_kept(discretised)),
        *_diverged(discretised, training),
        *_selection(discretised, learns, searched),
        *_budget_missed(discretised, budget),
    ]


def _routing_not_begun(discretised: Discretised) -> list[str]:
    supernet = discretised.supernet
    if not (supernet.searches and supernet.budget.dense):
        return []
    operation = "linear attention" if supernet.budget.starts_cheapest else "softmax"
    return [f"Routing had not begun: every chunk went to {operation}."]


def _stopped(training: TrainingRecord) -> list[str]:
    if training.finished:
        return []
    return [f"Stopped at step {training.step} of {training.steps}; the model at this step is saved."]


def _few_chunks_kept(discretised: Discretised) -> list[str]:
    given = discretised.supernet.space.sizes.given_routing is not None
    if discretised.supernet.budget.dense or given or not discretised.evaluation.share < NOTHING:
        return []
    return [
        "Routers keep almost no chunk. If quality is poor, or falls with the length, linear attention may have "
        "learnt the task imprecisely before softmax attention did: try half of trainer.learning_rate, or "
        "routers in all layers but the first."
    ]


def _diverged(discretised: Discretised, training: TrainingRecord) -> list[str]:
    if training.diverged_at is None and math.isfinite(discretised.evaluation.loss):
        return []
    return [
        f"The training diverged by step {training.step} of {training.steps}: the loss or a weight is not a finite "
        "number. Try a lower trainer.learning_rate or more trainer.warmup_steps."
    ]


def _selection(discretised: Discretised, learns: bool, searched: Searched | None) -> list[str]:
    """Return a note if no searcher ran, or if no architecture that it scored was within the budget."""
    if searched is not None:
        nearest = "No scored architecture is within the budget: this one is nearest to it."
        return [nearest] if searched.best is None else []
    if discretised.supernet.space.choosing and not learns and discretised.policy is not first_alone:
        return ["No searcher has run yet: this is an arbitrary architecture within the budget."]
    return []


def _budget_missed(discretised: Discretised, budget: BudgetUse) -> list[str]:
    """Return a note if the model costs more than the budget, or less than an exact budget, and the reason.

    The cost is measured on validation sequences. Thresholds of routers are calibrated on training sequences, so a
    difference of up to `TOLERANCE` is none if they meet the target there.
    """
    if budget.least == budget.most:
        return []
    target, calibrated = budget.target / budget.most, discretised.calibrated
    over = budget.used / budget.most - target
    above = calibrated is not None and calibrated > target + ROUNDING
    allowed = TOLERANCE if budget.exact or (calibrated is not None and not above) else ROUNDING
    if over <= allowed and not (budget.exact and over < -allowed):
        return []
    return [
        f"The budget is not met: the model needs {budget.used:.6g} {UNITS[budget.resource]}, the target is "
        f"{budget.target:.6g}.{_reason(discretised, above, budget.exact)}"
    ]


def _reason(discretised: Discretised, above: bool, exact: bool) -> str:
    """Return why a budget is not met, as a sentence after the others; empty if another note says it."""
    if discretised.supernet.budget.dense:
        return ""
    if discretised.calibrated is None:
        return " Its layers have no router whose threshold could move."
    if exact:
        return " No threshold of its routers that was tried is nearer to the target on training sequences."
    if above:
        return " No threshold of its routers that was tried costs less on training sequences."
    return " Its routers meet the target on training sequences, and keep more chunks of the validation sequences."
