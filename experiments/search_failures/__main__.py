"""Count the searches that fail with each remedy and task, and show when and where routers drop their chunks.

    python -m experiments.search_failures --workers 15 --deadline 7        # on a GPU; repeat until all runs are made
    python -m experiments.search_failures --remedies none distillation+loss_margin --tasks needle_digits --workers 15
    python -m experiments.search_failures --smoke                          # seconds on a CPU

Each run is an ordinary search with the options of its task and its remedy. Remedies are combined by a plus sign. All
remedies run with one seed before the next seed begins, so that a study that is stopped has a table of fewer seeds.
Runs whose figures are in the JSON file beside the table are not repeated, even if their folders are gone. Stopped runs
are resumed. At the deadline runs save a checkpoint and stop. The tables have all finished runs, after Ctrl-C too. The
options are in config.yaml beside this file.

On one GPU start NVIDIA's Multi-Process Service first (nvidia-cuda-mps-control -d), see experiments/token_vs_hand.
"""

import argparse
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from experiments.runs import DeadlinePassed, RunsFailed, deadline_in, machine, newest_finished, run_all, status_of
from experiments.search_failures.results import read, report, seed_of, write
from nas.errors import INTERRUPTED
from nas.runs.folder import Run
from nas.runs.history import history
from nas.runs.metrics import read_metrics

HERE = Path(__file__).parent
SPACE = "+space="


def main() -> int:
    """Run the study: parse the command line, make missing runs, write the tables; returns the exit status."""
    study = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        prog="python -m experiments.search_failures",
        description=__doc__.split("\n")[0],
        epilog=f"Tasks: {', '.join(study['tasks'])}. Remedies: {', '.join(study['remedies'])}.",
    )
    parser.add_argument("--tasks", nargs="+", choices=list(study["tasks"]), metavar="T", help="(default: all)")
    parser.add_argument("--remedies", nargs="+", metavar="R", help="names, or names with + between (default: each)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", help="(default: eight)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--deadline", type=float, metavar="MINUTES", help="stop after this time (default: at the end)")
    parser.add_argument("--smoke", action="store_true", help="small models and one task, for a CPU")
    parser.add_argument("--output", type=Path, default=Path("outputs/search_failures"), help="where the runs go")
    parser.add_argument(
        "--table", type=Path, default=HERE / "failures.md", help="path of the table; figures go beside it"
    )
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.steps=600")
    given = parser.parse_args()
    chosen = study["smoke"] if given.smoke else study
    tasks, seeds = given.tasks or list(chosen["tasks"]), given.seeds or chosen["seeds"]
    remedies = given.remedies or list(chosen["remedies"])
    if unknown := {part for name in remedies for part in name.split("+")} - study["remedies"].keys():
        parser.error(f"--remedies has {', '.join(sorted(unknown))}; choose of: {', '.join(study['remedies'])}")
    kept = given.table.with_suffix(".json")
    options = [*(["--smoke"] if given.smoke else []), *given.overrides]
    try:
        found = read(kept, options)
    except ValueError as error:
        parser.error(f"{error}; give another --table")
    places = {
        (task, remedy, seed): given.output / task / f"{remedy}_{seed}"
        for seed, remedy, task in product(seeds, remedies, tasks)
        if seed not in {one.seed for one in found.get(task, {}).get(remedy, [])}
    }
    commands = {
        folder: ["nas.search", *options_of(study, task, remedy, given.smoke), *given.overrides, f"seed={seed}"]
        for (task, remedy, seed), folder in places.items()
    }
    failed: list[Path] = []
    stopped = False
    try:
        run_all(
            commands,
            given.workers,
            {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            deadline_in(given.deadline),
        )
    except DeadlinePassed:
        pass
    except KeyboardInterrupt:
        stopped = True
    except RunsFailed as error:
        failed = error.failed
    done = 0
    for (task, remedy, seed), folder in places.items():
        if (run := newest_finished(folder)) is not None:
            made = seed_of(seed, read_metrics(run), history(Run(run)))
            found.setdefault(task, {}).setdefault(remedy, []).append(made)
            done += 1
    others = f", options of every run: {' '.join(options)}" if options else ""
    text = report(found) + f"\n{machine()}, {given.workers} runs at a time{others}.\n"
    given.table.write_text(text, encoding="utf-8")
    write(kept, found, options)
    print(text)
    print(f"written to {given.table} and {kept}; {done} of {len(commands)} missing runs are made")
    print(*(f"{folder}: failed, see {folder / 'log.txt'}" for folder in failed), sep="\n", file=sys.stderr)
    return INTERRUPTED if stopped else 1 if failed else 0


def options_of(study: dict[str, Any], task: str, remedy: str, smoke: bool) -> list[str]:
    """Return the options of a search: its space, of the study, the task, the small model if wanted, and the remedy."""
    own = [option for part in remedy.split("+") for option in study["remedies"][part]]
    spaces = [option for option in own if option.startswith(SPACE)] or [f"{SPACE}token_hybrid"]
    small = study["smoke"]["options"] if smoke else []
    rest = [option for option in own if not option.startswith(SPACE)]
    return [spaces[-1], *study["common"], *study["tasks"][task], *small, *rest]


if __name__ == "__main__":
    sys.exit(status_of(main))
