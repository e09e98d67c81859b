"""Search under budgets on each resource, approached from above and from below, and tabulate the reached costs.

    python -m experiments.budgets                             # seeds 0 and 1: about 25 minutes on one core
    python -m experiments.budgets --spaces layer_hybrid --seeds 2 trainer.steps=600

The task is recall, small enough that a run takes half a minute. Every run is an ordinary command; finished runs are not
repeated.
"""

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.runs import finished_run, run_once, status_of
from nas import search_spaces
from nas.budget.build import budgeted_cost
from nas.budget.cost import FLOPS, KV_BYTES, SOFTMAX_SHARE
from nas.config import CONF, SearchConfig, register
from nas.data import build_task
from nas.report.units import markdown
from nas.runs.folder import Run
from nas.runs.history import history

EASY = [
    *("data.length=128", "data.min_length=64", "data.pairs=4", "data.min_pairs=2", "data.queries=8"),
    *("data.keys=16", "data.values=16", "data.noise=16", "data.batch_size=8", "data.length_factors=[1]"),
    *("trainer.steps=400", "trainer.warmup_steps=20", "trainer.log_every=1", "trainer.accelerator=cpu"),
    *("trainer.validate_every=400", "trainer.checkpoint_every=400", "data.validation_batches=32"),
]
"""Options of every run."""
MODES = {
    "at most": ["budget.exact=false"],
    "exactly, from above": ["budget.exact=true"],
    "exactly, from below": ["budget.exact=true", "budget.start=cheapest", "budget.dense_until=0.1"],
}
TARGETS = {SOFTMAX_SHARE: [0.15, 0.3, 0.6], KV_BYTES: [0.3], FLOPS: [0.3]}
"""Targets as fractions of the most expensive architecture's cost, by resource."""


WINDOW = 20
"""Steps over which a cost is averaged before it is compared with the allowed cost: single batches are noisy."""


class Case(NamedTuple):
    """A search by its options, without the seed: one row of the table."""

    space: str
    resource: str
    mode: str
    part: float


def main() -> None:
    """Run the study: parse the command line, make missing runs, print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.budgets", description=__doc__.split("\n")[0])
    parser.add_argument("--spaces", nargs="+", default=["token_hybrid", "layer_hybrid"], help="search spaces")
    parser.add_argument("--resources", nargs="+", default=list(TARGETS), choices=list(TARGETS), help="resources")
    parser.add_argument(
        "--modes", nargs="+", default=list(MODES), choices=list(MODES), help="how the target is approached"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds (default: 0 1)")
    parser.add_argument("--output", type=Path, default=Path("outputs/budgets"), help="where the runs go")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "recall.md", help="where the table goes")
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.steps=600")
    given = parser.parse_args()
    register()
    cases = [
        Case(space, resource, mode, part)
        for space, resource, mode in product(given.spaces, given.resources, given.modes)
        for part in (TARGETS[resource] if "exactly" in mode else [0.3])
    ]
    rows = [_row(case, seed, given.output, given.overrides) for case in cases for seed in given.seeds]
    table = markdown(rows)
    given.table.write_text(table, encoding="utf-8")
    print(table)
    print(f"written to {given.table}")


def _row(case: Case, seed: int, output: Path, overrides: list[str]) -> dict[str, str]:
    """Return one search, made now if missing, as a row of the table: costs in percent of the most expensive."""
    options = [f"+space={case.space}", *EASY, f"budget={case.resource}", *MODES[case.mode], *overrides]
    target = case.part * _most(options)
    shown = case.part if case.resource == SOFTMAX_SHARE else round(target)
    folder = output / "_".join(map(str, (*case, seed))).replace(", ", "_").replace(" ", "_")
    metrics = run_once(folder, ["nas.search", *options, f"budget.target={shown}", f"seed={seed}"]).metrics
    budget = metrics.budget
    over, under = _excursions(Run(finished_run(folder)))
    return {
        "space": case.space,
        "resource": case.resource,
        "budget": case.mode,
        "seed": str(seed),
        "target %": f"{100 * budget.target / budget.most:.1f}",
        "reached %": f"{100 * budget.used / budget.most:.1f}",
        "difference": f"{100 * (budget.used - budget.target) / budget.most:+.1f}",
        "most over allowed": f"{100 * over:.1f}",
        "most under": f"{100 * under:.1f}",
        "recall": f"{metrics.learnt.at_training_length.quality:.3f}",
    }


def _most(options: list[str]) -> float:
    """Return the cost of the most expensive architecture, in the resource's unit."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = OmegaConf.to_object(compose("search", options))
    assert isinstance(config, SearchConfig)
    space = search_spaces.build(config.space, config.model, build_task(config.data, config.seed).vocab_size)
    return budgeted_cost(config.budget, space).most


def _excursions(run: Run) -> tuple[float, float]:
    """Return the largest excess and shortfall of the cost against the allowed cost, averaged over `WINDOW` steps."""
    steps = [entry for entry in history(run) if "target" in entry]
    errors = [entry.get("share", entry.get("cost", entry["target"])) - entry["target"] for entry in steps]
    means = [sum(errors[i : i + WINDOW]) / WINDOW for i in range(len(errors) - WINDOW + 1)]
    return max(0.0, *means), max(0.0, -min(means))


if __name__ == "__main__":
    sys.exit(status_of(main))
