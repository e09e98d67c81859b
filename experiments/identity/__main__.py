"""Compare two commits of this repository: are the results of short runs identical, bit for bit?

python -m experiments.identity BEFORE [AFTER]

Makes short runs on the CPU at both commits (AFTER is the working tree by default): a search of each space, a search by
evolution, a training, a sweep and a comparison. Compares the final weights of each run and the figures of the sweep and
the comparison, prints a row for each command, and exits with status 1 where anything differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).parents[2]
SMALL = (
    *("model.width=16", "model.key_dim=8", "model.value_dim=8", "model.mlp_width=16", "model.chunk_size=8"),
    *("data.length=64", "data.min_length=32", "data.pairs=4", "data.min_pairs=2", "data.queries=4"),
    *("data.keys=8", "data.values=8", "data.noise=8", "data.batch_size=2", "data.validation_batches=2"),
    *("data.length_factors=[1,2]", "trainer.steps=12", "trainer.log_every=1", "trainer.validate_every=6"),
    *("trainer.checkpoint_every=6", "trainer.warmup_steps=1", "trainer.accelerator=cpu", "budget.dense_until=0.3"),
)
CHUNKS = "space.chunk_sizes=[4,8,16]"
COMMANDS: dict[str, tuple[str, ...]] = {
    "token_hybrid": ("search", "+space=token_hybrid", *SMALL),
    "layer_hybrid": ("search", "+space=layer_hybrid", *SMALL),
    "chunk_size": ("search", "+space=chunk_size", CHUNKS, *SMALL),
    "joint": ("search", "+space=joint", "searcher=pairs", CHUNKS, *SMALL),
    "evolution": (
        "search",
        "+space=joint",
        "searcher=evolution",
        "searcher.evaluations=6",
        "searcher.population=4",
        "searcher.sample=2",
        CHUNKS,
        *SMALL,
    ),
    "train": ("train", "architecture=softmax-linear", *SMALL),
    "sweep": ("sweep", "+space=token_hybrid", "sweep.trials=2", "sweep.workers=1", *SMALL),
    "compare": (
        *("compare", "baselines=[softmax,linear,random_routing]", "seeds=2", "tuning_seeds=1", "workers=1"),
        *("learning_rates=[1.0e-3]", "timing=false", *SMALL),
    ),
}
TIMES = ("seconds", "per_second", "path", "run", "folder", "created", "command", "commit", "versions", "hardware")
"""Parts of the names of figures that differ from run to run."""


def main() -> int:
    """Run the commands at both commits and compare the results; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.identity", description=__doc__)
    parser.add_argument("before", help="commit to compare with, for example HEAD~20")
    parser.add_argument("after", nargs="?", help="commit to compare; the working tree by default")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="commands to compare")
    given = parser.parse_args()
    console = Console()
    table = Table("command", "weights", "figures", "figures of one only", "same")
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        before = _checkout(given.before, Path(folder) / "before")
        after = ROOT if given.after is None else _checkout(given.after, Path(folder) / "after")
        for name in track(given.only, "comparing", console=console):
            first, second = (
                _results(tree, Path(folder) / "outputs" / side / name, COMMANDS[name])
                for side, tree in (("before", before), ("after", after))
            )
            shared = first["figures"].keys() & second["figures"].keys()
            difference = _difference(first, second, sorted(shared))
            status |= difference is not None
            row = (len(first["weights"]), len(shared), len(first["figures"].keys() ^ second["figures"].keys()))
            table.add_row(name, *map(str, row), "yes" if difference is None else "NO")
            if difference is not None:
                console.print(f"{name}: {difference}", highlight=False)
    console.print(table)
    return status


def _checkout(commit: str, folder: Path) -> Path:
    """Check a commit of the repository out into a folder and return its path."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    return folder


def _results(tree: Path, output: Path, command: tuple[str, ...]) -> dict[str, Any]:
    """Return digests of all weights that a command leaves behind, by run name, and the figures of its results."""
    name, *options = command
    ended = subprocess.run(
        [sys.executable, "-m", f"nas.{name}", *options, f"output={output}"],
        cwd=tree,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        sys.exit(f"nas.{name} ended with status {ended.returncode} in {tree}: {ended.stderr[-2000:]}")
    weights = [hashlib.sha256(path.read_bytes()).hexdigest() for path in _by_name(output, "model.safetensors")]
    figures: dict[str, Any] = {}
    for number, path in enumerate(_by_name(output, "metrics.json")):
        figures |= _flat(json.loads(path.read_text(encoding="utf-8")), f"{number}")
    return {"weights": weights, "figures": figures}


def _by_name(output: Path, file: str) -> list[Path]:
    """List files of a command's runs, sorted by run name without the time: two runs may begin in the same second."""
    return sorted(output.rglob(file), key=lambda path: path.parent.name.split("_", 2)[2:])


def _flat(value: Any, name: str) -> dict[str, float]:
    """Flatten a JSON value to the numbers in it that do not depend on time, by their path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        found: dict[str, float] = {}
        for key, inner in items:
            if not any(part in str(key) for part in TIMES):
                found |= _flat(inner, f"{name}/{key}")
        return found
    return {name: value} if isinstance(value, int | float) else {}


def _difference(first: dict[str, Any], second: dict[str, Any], shared: list[str]) -> str | None:
    """Describe the first difference of two results in their weights or shared figures; None if they are equal."""
    if first["weights"] != second["weights"]:
        return f"weights differ: {len(first['weights'])} files before, {len(second['weights'])} after"
    ours, theirs = first["figures"], second["figures"]
    names = [name for name in shared if ours[name] != theirs[name]]
    if not names:
        return None
    return f"{len(names)} figures differ, among them {names[0]}: {ours[names[0]]} and {theirs[names[0]]}"


if __name__ == "__main__":
    sys.exit(main())
