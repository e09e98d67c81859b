"""Run the default search and its two baselines over seeds, and tabulate the results.

    python -m experiments.laptop_search                        # recall, seeds 0 to 2: about half an hour on 2 cores
    python -m experiments.laptop_search --data text
    python -m experiments.laptop_search --seeds 0 trainer.steps=200

Every run is an ordinary command; finished runs are not repeated.
"""

import argparse
import sys
from pathlib import Path

from experiments.runs import run_once, status_of
from nas.report.units import markdown, number
from nas.results.controls import RANDOM
from nas.runs.metrics import Metrics

KINDS = {
    "searched token hybrid": ["nas.search", "+space=token_hybrid"],
    "all softmax, from scratch": ["nas.train", "architecture=softmax"],
    "all linear, from scratch": ["nas.train", "architecture=linear"],
}


def main() -> None:
    """Run the study: parse the command line, make missing runs, print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.laptop_search", description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="recall", choices=["recall", "text"], help="task (default: recall)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument("--output", type=Path, default=Path("outputs/laptop_search"), help="where the runs go")
    parser.add_argument(
        "--table", type=Path, default=None, help="where to write the table (default: beside this script)"
    )
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.steps=200")
    given = parser.parse_args()
    rows = [
        _row(kind, seed, _metrics(arguments, given.data, seed, given.output, given.overrides))
        for kind, arguments in KINDS.items()
        for seed in given.seeds
    ]
    table = markdown(rows)
    path = given.table or Path(__file__).parent / f"{given.data}.md"
    path.write_text(table, encoding="utf-8")
    print(table)
    print(f"written to {path}")


def _metrics(arguments: list[str], data: str, seed: int, output: Path, overrides: list[str]) -> Metrics:
    """Return the metrics of one run, which is made now if missing."""
    module, *options = arguments
    folder = output / data / f"{module}_{options[0].rpartition('=')[2]}_{seed}"
    return run_once(folder, [module, *options, f"data={data}", f"seed={seed}", *overrides]).metrics


def _row(kind: str, seed: int, metrics: Metrics) -> dict[str, str]:
    """Return one row of the table."""
    learnt, retrieving = metrics.learnt, metrics.retrieving_layer
    measure = metrics.quality.replace("_", " ")
    row = {"model": kind, "seed": str(seed), "softmax share": number(learnt.at_training_length.share)}
    for factor, figures in learnt.by_factor.items():
        row[measure if factor == 1 else f"at {factor}x"] = number(figures.quality)
    random = next((control for control in metrics.controls if control.name == RANDOM), None)
    row["random routing, same share"] = number(None if random is None else random.at_training_length.quality)
    row["planted precision"] = number(None if retrieving is None else retrieving.precision)
    row["planted recall"] = number(None if retrieving is None else retrieving.recall)
    return row


if __name__ == "__main__":
    sys.exit(status_of(main))
