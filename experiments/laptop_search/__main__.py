"""Run the default search and its two baselines over seeds, and tabulate what came out.

    python -m experiments.laptop_search                        # recall, seeds 0 to 2: about half an hour on 2 cores
    python -m experiments.laptop_search --data text
    python -m experiments.laptop_search --seeds 0 trainer.steps=200

Every run is a command as a user would type it; a run that is there already is not made again.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from experiments.runs import metrics_of, status_of
from nas.report.units import markdown, number

KINDS = {
    "searched token hybrid": ["nas.search", "+space=token_hybrid"],
    "all softmax, trained so": ["nas.train", "architecture=softmax"],
    "all linear, trained so": ["nas.train", "architecture=linear"],
}


def main() -> None:
    """Parse the command line, run what is missing, print and write the table."""
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
    path.write_text(table)
    print(table)
    print(f"written to {path}")


def _metrics(arguments: list[str], data: str, seed: int, output: Path, overrides: list[str]) -> dict[str, Any]:
    """`metrics.json` of one run, made now unless it is there."""
    module, *options = arguments
    folder = output / data / f"{module}_{options[0].rpartition('=')[2]}_{seed}"
    return metrics_of(folder, [module, *options, f"data={data}", f"seed={seed}", *overrides])


def _row(kind: str, seed: int, metrics: dict[str, Any]) -> dict[str, str]:
    """One line of the table."""
    routings = metrics["routings"]
    own = routings.get("searched routing") or routings["trained model"]
    measure = metrics["quality"].replace("_", " ")
    row = {"model": kind, "seed": str(seed), "softmax share": number(own["1x"]["share"])}
    row |= {measure if length == "1x" else f"at {length}": number(found["quality"]) for length, found in own.items()}
    row["random routing, same share"] = number(routings.get("random, same share", {}).get("1x", {}).get("quality"))
    retrieving = metrics["retrieving_layer"] or {}
    row["planted precision"] = number(retrieving.get("precision"))
    row["planted recall"] = number(retrieving.get("recall"))
    return row


if __name__ == "__main__":
    sys.exit(status_of(main))
