"""The latency table of a run, in its folder, so that a resumed run continues with the same costs."""

from rich.console import Console

from nas.budget.checks import MOST_EXPENSIVE
from nas.console import say
from nas.distributed.launch import launched
from nas.distributed.rendezvous import from_first
from nas.errors import warn
from nas.latency.table import LATENCIES, Latencies, read_latencies
from nas.models.operations import operation_of
from nas.runs.folder import Run
from nas.training.module import TrainingModule


def keep_latencies(module: TrainingModule, run: Run, console: Console) -> None:
    """Write the latency table of a module to its run folder, and say what is in it.

    If the folder has a table, as that of a restarted run does, the module uses this table.
    """
    measured = module.cost.latencies
    if measured is None:
        return

    def kept() -> dict[str, object] | None:
        found = read_latencies(run.path)
        return None if found is None else found.as_json()

    if (own := from_first(kept)) is not None:
        if (stored := Latencies.from_json(own)) != measured:
            module.limit(stored)
    elif launched().first:
        run.write_json(LATENCIES, measured.as_json())
    assert module.cost.latencies is not None
    _warn_of_dense_phase(module)
    say(console, f"{module.cost.latencies.summary}; {LATENCIES}")


def _warn_of_dense_phase(module: TrainingModule) -> None:
    """Warn if the dense phase, which is that of the slowest options, is without softmax attention in some layer."""
    cost, start = module.cost, module.config.budget.start
    slowest = [own[option] for own, option in zip(cost.space.options, cost.densest, strict=True)]
    linear = {
        layer: option.mixer
        for layer, option in enumerate(slowest)
        if layer in cost.space.choosing and not operation_of(option.operations[0], cost.space.sizes).keeps_all
    }
    if linear and start == MOST_EXPENSIVE:
        mixers, layers = sorted(set(linear.values())), ", ".join(map(str, linear))
        warn(
            f"budget.start={start} begins with {' and '.join(mixers)} in layers {layers}, the slowest options at "
            f"budget.context={cost.context}; give a larger budget.context to begin with softmax attention."
        )
