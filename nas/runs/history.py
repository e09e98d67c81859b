"""The scalars of a training, read from TensorBoard's files in its run folder."""

from collections.abc import Mapping
from statistics import fmean

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas.runs.folder import TENSORBOARD, Run

FINAL = "final/"
"""Prefix of the figures that HParams shows."""


def history(run: Run) -> list[dict[str, float]]:
    """Return the logged scalars, one dict for each step with the report's names; empty if nothing was logged."""
    if not (run.path / TENSORBOARD).is_dir():
        return []
    events = EventAccumulator(str(run.path / TENSORBOARD), size_guidance={"scalars": 0})
    events.Reload()
    steps: dict[int, dict[str, float]] = {}
    for tag in [tag for tag in events.Tags()["scalars"] if not tag.startswith(FINAL)]:
        for event in events.Scalars(tag):
            name = {"budget": "target"}.get(tag, tag)
            steps.setdefault(event.step, {"step": event.step})[name] = event.value
    return [steps[step] for step in sorted(steps)]


def mean_share(entries: list[dict[str, float]]) -> float | None:
    """Return the mean softmax share over the logged steps; None if it was not logged, as for a budget of another cost.

    Routed layers begin as softmax attention and reach their final share as the budget tightens.
    """
    shares = [entry["share"] for entry in entries if "share" in entry]
    return fmean(shares) if shares else None


VALIDATION = "validation_"
"""First part of the name of the logged validation quality; the measure follows."""
PROBABILITY = "probability"
"""First part of the names of the logged probabilities of each layer's options."""
ORIGINAL = "original_divergence"
"""Name of the logged divergence from the predictions of the pretrained model."""
HIDDEN = "hidden_error"
"""First part of the names of the logged errors of hidden states in a healing; the layer follows."""
ERROR = "error"
"""First part of the names of the logged errors of an alignment; the layer and the option follow."""


def by_operation(figures: Mapping[str, float]) -> dict[str, list[float]]:
    """Return the errors of an alignment by option: those of all layers, in their order.

    >>> by_operation({"error/layer_0/linear": 0.5, "error/layer_1/linear": 0.25, "step": 3})
    {'linear': [0.5, 0.25]}
    """
    found: dict[str, list[float]] = {}
    for key, value in figures.items():
        if key.startswith(f"{ERROR}/"):
            found.setdefault(key.split("/", 2)[2], []).append(value)
    return found


SHARE = "share"
"""First part of the names of the logged running softmax share of each routed layer."""
