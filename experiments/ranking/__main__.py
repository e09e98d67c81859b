"""Compare rankings of architectures by shared weights and by stand-alone training, and the results of searches.

    python -m experiments.ranking --workers 14      # 16 patterns x 3 seeds alone, 31 searches
    python -m experiments.ranking --workers 2 --layers 2 --seeds 0 --search-seeds 0 trainer.steps=300

Every pattern of softmax and linear layers is trained alone with several seeds, by one recipe on one task. Supernets of
the same sizes, trained by single paths drawn uniformly, score each pattern with their shared weights. The study reports
Kendall's tau (b) between these scores and the mean stand-alone scores. Searches with each relaxation then select a
pattern each within a budget. A selection counts as its pattern's mean stand-alone recall, and is compared with random
search at the same cost. Finished runs are not repeated.
"""

import argparse
import itertools
import sys
from pathlib import Path

from experiments.ranking import results
from experiments.runs import machine, run_all, status_of

TASK = (
    *("data=recall", "data.keys=16", "data.values=16", "data.min_pairs=3", "data.length_factors=[1]"),
    *("data.validation_batches=16", "trainer.steps=1000"),
)
"""Few keys and values, and short training: patterns differ in quality at this difficulty."""
SPACE = ("+space=layer_hybrid", "space.operations=[softmax,linear]")
SUPERNETS = {
    "uniform from the first step": ("budget.dense_until=0",),
    "uniform once softmax alone has learnt": (),
}
RELAXATIONS = ("gdas", "gumbel", "argmax_ste", "darts", "drnas")


def main() -> None:
    """Run the study: parse the command line, make missing runs, print and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.ranking", description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=4, help="layers of the model (default: 4)")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="seeds of stand-alone trainings and supernets (default: 0 1 2)",
    )
    parser.add_argument(
        "--search-seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="seeds of searches (default: 0 1 2 3 4)"
    )
    parser.add_argument("--relaxations", nargs="+", choices=RELAXATIONS, default=RELAXATIONS, help="(default: all)")
    parser.add_argument("--budget", type=float, default=0.25, help="softmax share to search for (default: 0.25)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--output", type=Path, default=Path("outputs/ranking"), help="where the runs go")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "recall.md", help="where the tables go")
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.steps=600")
    given = parser.parse_args()
    commands = {given.output / name: command for name, command in _commands(given).items()}
    done = {folder: run.metrics for folder, run in run_all(commands, given.workers).items()}
    patterns = _patterns(given.layers)
    alone = {p: [done[given.output / _alone(p, seed)] for seed in given.seeds] for p in patterns}
    shared = {kind: [results.scores(given.output / _shared(kind, seed)) for seed in given.seeds] for kind in SUPERNETS}
    searched = {
        name: [done[given.output / _searched(name, seed)] for seed in given.search_seeds] for name in given.relaxations
    }
    text = results.report(alone, shared, searched, given.budget) + f"\n{machine()}.\n"
    given.table.write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {given.table}")


def _commands(given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command of every run, keyed by its folder."""
    options = [*TASK, f"model.layers={given.layers}", *given.overrides]
    commands = {}
    for pattern, seed in itertools.product(_patterns(given.layers), given.seeds):
        name = results.full_name(pattern)
        commands[_alone(pattern, seed)] = ["nas.train", f"architecture={name}", f"seed={seed}", *options]
    for (kind, own), seed in itertools.product(SUPERNETS.items(), given.seeds):
        searcher = ["searcher=random", f"searcher.evaluations={2**given.layers}", "searcher.batches=16"]
        commands[_shared(kind, seed)] = [
            *("nas.search", *SPACE, *searcher, "budget.target=1", f"seed={seed}"),
            *(*own, *options),
        ]
    for name, seed in itertools.product(given.relaxations, given.search_seeds):
        commands[_searched(name, seed)] = [
            *("nas.search", *SPACE, f"relaxation={name}", f"budget.target={given.budget}", f"seed={seed}"),
            *options,
        ]
    return commands


def _patterns(layers: int) -> list[str]:
    return ["".join(letters) for letters in itertools.product("sl", repeat=layers)]


def _alone(pattern: str, seed: int) -> str:
    return f"alone/{pattern}_{seed}"


def _shared(kind: str, seed: int) -> str:
    return f"shared/{kind.replace(' ', '_')}_{seed}"


def _searched(relaxation: str, seed: int) -> str:
    return f"searched/{relaxation}_{seed}"


if __name__ == "__main__":
    sys.exit(status_of(main))
