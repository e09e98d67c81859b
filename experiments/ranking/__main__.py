"""Compare rankings of architectures by shared weights and by stand-alone training, and the results of searches.

    python -m experiments.ranking --task digits --workers 15              # 16 patterns, 88 runs
    python -m experiments.ranking --task text --layers 6 --workers 15     # 64 patterns, 232 runs
    python -m experiments.ranking --task recall --workers 15 --deadline 9 # again to continue
    python -m experiments.ranking --smoke --layers 2                      # seconds on a CPU

Every pattern of softmax and linear layers is trained alone with several seeds, by one recipe on one task. Supernets of
the same sizes, trained by single paths drawn uniformly, score each pattern with their shared weights. The study reports
Kendall's tau (b) between these scores and the mean stand-alone scores, beside that of predictors without training.
Gradient searches with each relaxation, and searchers on the scores of the supernets, then select a pattern each within
a budget. All of them train for the same number of tokens. The regret of a selection is how much worse its mean
stand-alone quality is than that of the best pattern within the budget.

Runs go side by side; on one GPU start NVIDIA's Multi-Process Service first (nvidia-cuda-mps-control -d). Finished runs
are not repeated, and stopped runs are resumed. After ``--deadline`` minutes nothing new starts, and running trainings
save a checkpoint and stop. `recall.md` was measured with ``--budget 0.25`` and has no predictors and no regret.
"""

import argparse
import itertools
import sys
from pathlib import Path

from experiments.ranking import results
from experiments.ranking.scores import Alone, Supernet, full_name, scores
from experiments.runs import RATE, deadline_in, machine, plan, run_all, status_of, threads, unfinished
from nas.runs.metrics import Metrics

HERE = Path(__file__).parent
SIZES = (
    *("model.width=128", "model.key_dim=64", "model.value_dim=64", "model.mlp_width=256", "data.batch_size=32"),
    *("data.validation_batches=16", "trainer.steps=1400", "trainer.validate_every=700"),
)
"""Sizes and recipe of `experiments.token_vs_hand`."""
TASKS = {
    "recall": (
        *("data=recall", "data.keys=16", "data.values=16", "data.min_pairs=3", "data.length_factors=[1,4]"),
        *("data.validation_batches=16", "trainer.steps=1000"),
    ),
    "digits": (
        *("data=needle", "data.form=digits", "data.length_factors=[1,4,16]"),
        *("trainer.learning_rate=5e-4", "trainer.router_learning_rate=5e-4", *SIZES),
    ),
    "text": ("data=text", "data.length=512", "data.length_factors=[1,4]", "budget.learnt_at=0.1", *SIZES),
}
"""Options by task. Recall has few keys and values and short training: patterns differ in quality at this difficulty."""
SMOKE = (
    *("model.width=16", "model.key_dim=8", "model.value_dim=8", "model.mlp_width=16", "data.batch_size=2"),
    *("data.validation_batches=1", "data.length_factors=[1]", "trainer.steps=2", "trainer.warmup_steps=1"),
    *("trainer.validate_every=2", "trainer.accelerator=cpu", "budget.dense_until=0"),
)
"""Options of a study that takes seconds and shows nothing but that it runs."""
SPACE = ("+space=layer_hybrid", "space.operations=[softmax,linear]")
SUPERNETS = {
    "uniform from the first step": ("budget.dense_until=0",),
    "uniform once softmax alone has learnt": (),
}
SEARCHES = {name: (f"relaxation={name}",) for name in ("gdas", "gumbel", "argmax_ste", "darts", "drnas")}
SEARCHES["pairs"] = ("searcher=pairs",)


def main() -> None:
    """Run the study: parse the command line, make missing runs, print and write the tables."""
    given = _parser().parse_args()
    output = given.output or Path("outputs/ranking") / f"{given.task}_{given.layers}_layers"
    name = f"{given.task}_{given.layers}_layers.md"
    table = given.table or (output if given.smoke else HERE) / name
    if given.smoke:
        given.seeds, given.search_seeds = given.seeds[:1], given.search_seeds[:1]
    commands = {output / name: command for name, command in _commands(given).items()}
    left = unfinished(list(commands))
    print(f"left of {len(commands)} runs: {plan(left, left * _steps(given), given.rate)}", flush=True)
    made = run_all(commands, given.workers, threads(given.workers), deadline_in(given.deadline))
    done = {folder: run.metrics for folder, run in made.items()}
    text = _report(given, output, done) + f"\n{machine()}.\n"
    table.write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {table}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.ranking", description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=list(TASKS), default="recall", help="task to train on (default: recall)")
    parser.add_argument("--layers", type=int, default=4, help="layers of the model (default: 4)")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of stand-alone trainings (default: 0 1 2)"
    )
    parser.add_argument(
        "--search-seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2, 3, 4],
        help="seeds of supernets and searches (default: 0 1 2 3 4)",
    )
    parser.add_argument("--searches", nargs="+", choices=list(SEARCHES), default=list(SEARCHES), help="(default: all)")
    parser.add_argument("--budget", type=float, default=0.5, help="softmax share to search for (default: 0.5)")
    parser.add_argument(
        "--factor", type=int, default=1, help="length of the stand-alone scores, times the training length (default: 1)"
    )
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--deadline", type=float, help="minutes after which nothing new starts (default: none)")
    parser.add_argument(
        "--rate", type=float, default=RATE, help=f"steps a second over all workers, for the plan (default: {RATE:g})"
    )
    parser.add_argument("--smoke", action="store_true", help="one seed of a tiny model for two steps, on the CPU")
    parser.add_argument("--output", type=Path, help="where the runs go (default: outputs/ranking/TASK_N_layers)")
    parser.add_argument("--table", type=Path, help="where the tables go (default: TASK_N_layers.md beside this file)")
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.steps=600")
    return parser


def _report(given: argparse.Namespace, output: Path, done: dict[Path, Metrics]) -> str:
    runs = {p: [done[output / _alone(p, seed)] for seed in given.seeds] for p in _patterns(given.layers)}
    shared = {
        kind: [
            Supernet(scores(output / _shared(kind, seed)), done[output / _shared(kind, seed)].training_tokens)
            for seed in given.search_seeds
        ]
        for kind in SUPERNETS
    }
    searched = {name: [done[output / _searched(name, seed)] for seed in given.search_seeds] for name in given.searches}
    return results.report(Alone(runs, given.factor, given.budget), shared, searched)


def _options(given: argparse.Namespace) -> list[str]:
    smoke = SMOKE if given.smoke else ()
    return [*TASKS[given.task], f"model.layers={given.layers}", *smoke, *given.overrides]


def _steps(given: argparse.Namespace) -> int:
    """Return the number of steps of one training."""
    return int([option for option in _options(given) if option.startswith("trainer.steps=")][-1].split("=")[1])


def _commands(given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command of every run, keyed by its folder."""
    options = _options(given)
    commands = {}
    for pattern, seed in itertools.product(_patterns(given.layers), given.seeds):
        name = full_name(pattern)
        commands[_alone(pattern, seed)] = ["nas.train", f"architecture={name}", f"seed={seed}", *options]
    for (kind, own), seed in itertools.product(SUPERNETS.items(), given.search_seeds):
        searcher = ["searcher=random", f"searcher.evaluations={2**given.layers}", "searcher.batches=16"]
        commands[_shared(kind, seed)] = [
            *("nas.search", *SPACE, *searcher, "budget.target=1", f"seed={seed}"),
            *(*options, *own),
        ]
    for name, seed in itertools.product(given.searches, given.search_seeds):
        commands[_searched(name, seed)] = [
            *("nas.search", *SPACE, *SEARCHES[name], f"budget.target={given.budget}", f"seed={seed}"),
            *options,
        ]
    return commands


def _patterns(layers: int) -> list[str]:
    return ["".join(letters) for letters in itertools.product("sl", repeat=layers)]


def _alone(pattern: str, seed: int) -> str:
    return f"alone/{pattern}_{seed}"


def _shared(kind: str, seed: int) -> str:
    return f"shared/{kind.replace(' ', '_')}_{seed}"


def _searched(name: str, seed: int) -> str:
    return f"searched/{name}_{seed}"


if __name__ == "__main__":
    sys.exit(status_of(main))
