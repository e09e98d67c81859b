"""Compare searches of layers and tokens with hybrids by hand, on seven tasks and up to 64 times the training length.

    python -m experiments.token_vs_hand --plan                                      # the device time, and nothing else
    python -m experiments.token_vs_hand --pilot --workers 15 --deadline 9           # two seeds of few models
    python -m experiments.token_vs_hand --only text --workers 15 --deadline 9       # again to continue
    python -m experiments.token_vs_hand --smoke --only planted                      # on a CPU

`config.yaml` has all options, and `criterion.md` the rule by which `rule.py` judges. For each task `nas.compare`
searches the spaces anew with each seed, and trains every hybrid by hand. A second comparison then trains routes that do
not depend on content, in the layers and at the share that the joint search found. Tables go to `results/`.

Before anything starts the study prints how long it takes. After ``--deadline`` minutes nothing new starts, and running
trainings save a checkpoint and stop. The same command continues; finished trainings are not repeated. On one GPU start
NVIDIA's Multi-Process Service first (nvidia-cuda-mps-control -d). Without it the kernels of different processes take
turns, and models as small as these leave most of the GPU idle.

To continue on another machine, take the run folders along. Of finished trainings neither weights nor checkpoints are
needed, except the weights of searches for `experiments.token_vs_hand.falsify`:

    tar czf runs.tgz --exclude=checkpoints --exclude=model.safetensors --exclude=report.html --exclude=figures outputs
"""

import argparse
import json
import sys
from pathlib import Path

import yaml

from experiments.command_line import folders_of, study_parser
from experiments.runs import RATE, deadline_in, machine, plan, status_of
from experiments.token_vs_hand.rule import report
from experiments.token_vs_hand.study import Task, task_of
from nas.comparisons.finish import MARKDOWN
from nas.comparisons.results import Comparison
from nas.runs.folder import read_json

HERE = Path(__file__).parent
KEPT = ("quality_by_length.png", "bits_by_position.png")
"""Committed figures; those of cost repeat the tables."""


def main() -> None:
    """Run the study: parse the command line, print the plan, make missing trainings, write tables and verdicts."""
    study = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    given = _parser(list(study["tasks"])).parse_args()
    output, results = folders_of(given, HERE)
    names = given.only or list(study["tasks"])
    tasks = [task_of(study, name, output, given.mode, given.overrides) for name in names]
    _print_plan(tasks, given.rate)
    if given.plan:
        return
    results.mkdir(parents=True, exist_ok=True)
    deadline = deadline_in(given.deadline)
    for task in tasks:
        _keep(task, task.run(given.workers, deadline), results)
    known = {name: read_json(results / f"{name}.json") for name in study["tasks"]}
    text = report({name: Comparison.from_dict(found) for name, found in known.items() if found})
    (results / "verdict.md").write_text(f"{text}\n{machine()}.\n", encoding="utf-8")
    print(text)
    print(f"written to {results}")


def _parser(tasks: list[str]) -> argparse.ArgumentParser:
    modes = {
        "pilot": "few models with two other seeds, for each task",
        "smoke": "tiny models for two steps, on the CPU",
    }
    parser = study_parser("token_vs_hand", __doc__, modes)
    parser.add_argument("--only", nargs="+", choices=tasks, help="tasks to run (default: all, one after the other)")
    parser.add_argument(
        "--rate", type=float, default=RATE, help=f"steps a second over all workers, for the plan (default: {RATE:g})"
    )
    return parser


def _print_plan(tasks: list[Task], rate: float) -> None:
    """Print the trainings that are left and their device time, by task and over all tasks.

    A search by halving counts as so many trainings as have its steps.
    """
    left = {task.name: (-(-task.left // task.steps), task.left) for task in tasks}
    for name, (trainings, steps) in left.items():
        print(f"{name}: {plan(trainings, steps, rate)}", flush=True)
    trainings, steps = map(sum, zip(*left.values(), strict=True))
    print(f"in all: {plan(trainings, steps, rate)}, without validation and added rates", flush=True)


def _keep(task: Task, found: Comparison, results: Path) -> None:
    """Copy the table of a comparison, its figures over lengths, and the results of all trainings to six digits."""
    folder = task.main.begun
    assert folder is not None
    (results / f"{task.name}.md").write_text((folder / MARKDOWN).read_text(encoding="utf-8"), encoding="utf-8")
    short = json.loads(json.dumps(found.to_dict()), parse_float=lambda text: float(f"{float(text):.6g}"))
    (results / f"{task.name}.json").write_text(json.dumps(short, separators=(",", ":")) + "\n", encoding="utf-8")
    for figure in KEPT:
        if (folder / figure).exists():
            (results / f"{task.name}_{figure}").write_bytes((folder / figure).read_bytes())


if __name__ == "__main__":
    sys.exit(status_of(main))
