"""The latency table of a run, in its folder, so that a resumed run continues with the same costs."""

from rich.console import Console

from nas.console import say
from nas.distributed.launch import launched
from nas.distributed.rendezvous import from_first
from nas.latency.table import LATENCIES, Latencies, read_latencies
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
    say(console, f"{module.cost.latencies.summary}; {LATENCIES}")
