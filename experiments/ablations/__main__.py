"""Measure routing precision and recall of planted chunks over training, and which settings they depend on.

    python -m experiments.ablations --workers 14        # 19 variants and the default, 3 seeds each: on a GPU
    python -m experiments.ablations --variants budget.price=0 --seeds 0 --table outputs/ablations.md trainer.steps=600

The default search (`nas.search +space=token_hybrid` on planted recall) is compared with searches that differ from it in
one factor: gradients of routes, relaxation, schedule and start of the budget, its price, chunk size, bilevel training,
positions. Runs are paired by seed. The study writes a table and, beside it under the same name, a figure of precision
and recall over training. Every run is an ordinary command; finished runs are not repeated. If runs fail, the others
continue and are tabulated; the same command then makes the missing runs.
"""

import argparse
import re
import sys
from itertools import product
from pathlib import Path

from experiments.ablations.figure import write_figure
from experiments.ablations.results import BASE, Ablation, Trained, report, trained
from experiments.runs import RunsFailed, machine, run_all, status_of, threads

STUDY = ("nas.search", "+space=token_hybrid", "trainer.validate_every=25")
"""Options of every run. Validation changes nothing in the training."""
LONGER = "data.min_length=128"
"""With chunks of 8 or 64 tokens the blocks of all pairs do not fit the shortest default sequences of 64 tokens."""
VARIANTS = (
    Ablation("space.route_grad=selected"),
    Ablation("relaxation=gumbel"),
    Ablation("relaxation=darts"),
    Ablation("relaxation=gdas relaxation.router=gdas"),
    Ablation("budget.dense_until=0"),
    Ablation("budget.tighten_over=0"),
    Ablation("budget.tighten_over=0.05"),
    Ablation("budget.tighten_over=0.4"),
    Ablation("budget.price=0"),
    Ablation("budget.settle_from=1"),
    Ablation("budget.start=both"),
    Ablation("budget.start=cheapest"),
    Ablation("budget.exact=true"),
    Ablation("trainer.bilevel=true"),
    Ablation("model.rope_base=10000"),
    Ablation("model.chunk_size=32"),
    Ablation(LONGER),
    Ablation(f"model.chunk_size=8 {LONGER}", against=LONGER),
    Ablation(f"model.chunk_size=64 {LONGER}", against=LONGER),
)
"""Variants of one factor each; variants that need longer sequences are compared with the default with these."""


def main() -> int:
    """Run the study: parse the command line, make missing runs, write table and figure; returns the exit status."""
    names = [variant.options for variant in VARIANTS]
    parser = argparse.ArgumentParser(
        prog="python -m experiments.ablations",
        description=__doc__.split("\n")[0],
        epilog="Variants: " + "; ".join(names) + ".",
    )
    parser.add_argument("--variants", nargs="+", choices=names, metavar="V", default=names, help="(default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--output", type=Path, default=Path("outputs/ablations"), help="where the runs go")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).parent / "recall.md",
        help="path of the table; the figure goes beside it",
    )
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.steps=600")
    given = parser.parse_args()
    variants = _with_references(given.variants)
    commands = {
        _folder(given.output, variant, seed): [*STUDY, *variant.given, *given.overrides, f"seed={seed}"]
        for seed, variant in product(given.seeds, variants)
    }
    failed: list[Path] = []
    try:
        done = run_all(commands, given.workers, threads(given.workers))
    except RunsFailed as error:
        done, failed = dict(error.done), error.failed
    found: dict[str, list[Trained]] = {}
    for variant in variants:
        folders = [_folder(given.output, variant, seed) for seed in given.seeds]
        if all(folder in done for folder in folders):
            found[variant.options] = [trained(folder, done[folder]) for folder in folders]
    messages = [f"{folder}: failed, see {folder / 'log.txt'}" for folder in failed]
    if BASE.options in found:
        picture = given.table.with_suffix(".png")
        write_figure(picture, found)
        text = report([variant for variant in variants if variant.options in found], found, picture.name)
        given.table.write_text(text + _setting(given.workers, given.overrides), encoding="utf-8")
        print(given.table.read_text(encoding="utf-8"))
        print(f"written to {given.table} and {picture}")
    print(*messages, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _with_references(names: list[str]) -> list[Ablation]:
    """Return the default, then the variants of these names and those that they are compared with, in study order."""
    wanted = {*names, *(variant.against for variant in VARIANTS if variant.options in names)}
    return [BASE, *(variant for variant in VARIANTS if variant.options in wanted)]


def _folder(output: Path, variant: Ablation, seed: int) -> Path:
    """Return the folder of a run; its name has no character that Hydra would parse."""
    return output / re.sub(r"[^\w.]", "_", f"{variant.options}_{seed}")


def _setting(workers: int, overrides: list[str]) -> str:
    """Describe the machine and the options of the study."""
    options = f", options of every run: {' '.join(overrides)}" if overrides else ""
    return f"\n{machine()}, {workers} runs at a time{options}.\n"


if __name__ == "__main__":
    sys.exit(status_of(main))
