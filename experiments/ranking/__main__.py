"""Do shared weights rank architectures as training each of them alone does?

    python -m experiments.ranking                      # 16 patterns x 3 seeds alone, and 3 supernets: 10 minutes on a GPU
    python -m experiments.ranking --workers 12
    python -m experiments.ranking --seeds 0 --layers 2 trainer.steps=600

Every pattern of softmax and linear layers is trained alone with several seeds, by the same recipe on the same task. A
supernet of the same sizes scores each pattern with its shared weights, and a gradient search picks one. What is reported:
Kendall's tau (b) between the scores and the means of the stand-alone trainings, and the place of what was searched
among the patterns that its budget allows. Runs that are there already are not made again.
"""

import argparse
import itertools
import statistics
from pathlib import Path
from typing import Any

from experiments.runs import all_metrics
from experiments.tables import markdown, number

OPERATIONS = ("softmax", "linear")
TASK = ("data=recall", "data.pairs=28", "data.min_length=128", "data.length_factors=[1]", "data.validation_batches=16")
"""Twice the default's pairs: a pressure at which patterns differ."""
Metrics = dict[str, Any]


def main() -> None:
    """Parse the command line, run what is missing, print and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.ranking", description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=4, help="of the model (default: 4)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.25, 0.5], help="softmax shares to search for")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--patterns", nargs="+", default=None, help="of s and l, for example slls (default: all)")
    parser.add_argument("--output", type=Path, default=Path("outputs/ranking"), help="where the runs go")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "patterns.md", help="where to write")
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.steps=600")
    given = parser.parse_args()
    patterns = given.patterns or ["".join(p) for p in itertools.product("sl", repeat=given.layers)]
    options = [*TASK, f"model.layers={given.layers}", *given.overrides]
    alone = {
        (pattern, seed): given.output / "alone" / f"{pattern}_{seed}" for pattern in patterns for seed in given.seeds
    }
    commands = {
        folder: ["nas.train", f"architecture={full_name(pattern)}", f"seed={seed}", *options]
        for (pattern, seed), folder in alone.items()
    }
    done = all_metrics(commands, given.workers)
    rows = {pattern: [figures(done[alone[pattern, seed]]) for seed in given.seeds] for pattern in patterns}
    text = pattern_table(rows)
    given.table.write_text(text)
    print(text)
    print(f"written to {given.table}")


def full_name(pattern: str) -> str:
    """slls as the architecture= of nas.train."""
    return "-".join("softmax" if letter == "s" else "linear" for letter in pattern)


def figures(metrics: Metrics) -> Metrics:
    """Quality and loss of the trained architecture."""
    found: Metrics = next(iter(metrics["routings"].values()))["1x"]
    return found


def pattern_table(rows: dict[str, list[Metrics]]) -> str:
    """Each pattern's quality and loss over seeds, best first."""
    by_mean = sorted(rows, key=lambda pattern: statistics.mean(one["loss"] for one in rows[pattern]))
    return markdown(
        [
            {
                "pattern": pattern,
                "recall": number(statistics.mean(one["quality"] for one in rows[pattern])),
                "by seed": " ".join(number(one["quality"]) for one in rows[pattern]),
                "loss": number(statistics.mean(one["loss"] for one in rows[pattern])),
                "losses": " ".join(number(one["loss"]) for one in rows[pattern]),
            }
            for pattern in by_mean
        ]
    )


if __name__ == "__main__":
    main()
