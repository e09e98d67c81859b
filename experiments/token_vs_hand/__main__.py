"""Does choosing the operation per token retrieve better over long contexts than hybrids designed by hand?

    python -m experiments.token_vs_hand --workers 14                    # all of it, on a GPU
    python -m experiments.token_vs_hand --reduced                       # one task, small: minutes on a CPU
    python -m experiments.token_vs_hand --tasks mqar needle_noise --workers 14

For each task a token hybrid is searched with `nas.search`, for all of them side by side, then compared with hybrids
designed by hand by `nas.compare`; both are commands as a user would type them. What is there already is not made again,
and what was stopped goes on. Options stand in config.yaml beside this file.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from experiments.runs import all_metrics
from experiments.token_vs_hand.claim import claim
from nas.comparisons.closing import MARKDOWN
from nas.comparisons.results import RESULTS, Comparison
from nas.run import read_json

HERE = Path(__file__).parent
SEARCH = ("nas.search", "+space=token_hybrid")
KEPT = ("quality_by_length.png", "bits_by_position.png")
"""Figures that are committed; those of cost say what the tables do."""


def main() -> None:
    """Parse the command line, run what is missing, write the tables and figures."""
    study = yaml.safe_load((HERE / "config.yaml").read_text())
    parser = argparse.ArgumentParser(prog="python -m experiments.token_vs_hand", description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=list(study["tasks"]), help="which (default: all)")
    parser.add_argument("--reduced", action="store_true", help="small models and one task, for a CPU")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time (default: 1)")
    parser.add_argument("--output", type=Path, help="where the runs go (default: outputs/token_vs_hand)")
    parser.add_argument("--results", type=Path, help="where tables and figures go (default: beside this file)")
    parser.add_argument("overrides", nargs="*", help="options for every command, for example trainer.steps=600")
    given = parser.parse_args()
    tasks = (study | study["reduced"] if given.reduced else study)["tasks"]
    name = "token_vs_hand_reduced" if given.reduced else "token_vs_hand"
    output = given.output or Path("outputs") / name
    results = given.results or (HERE / "reduced" if given.reduced else HERE)
    results.mkdir(parents=True, exist_ok=True)
    options = {
        task: [*options_of(study, task, given.reduced), *given.overrides]
        for task in given.tasks or list(tasks)
    }
    searches = {output / task / "search": [*SEARCH, *options[task]] for task in options}
    all_metrics(searches, min(given.workers, len(searches)), {} if given.workers == 1 else {"OMP_NUM_THREADS": "1"})
    found: dict[str, Comparison] = {}
    for task in options:
        settings = settings_of(study, task, given.reduced)
        folder = _compared(output / task, options[task], settings, given.workers)
        found[task] = Comparison.from_dict(read_json(folder / RESULTS))
        _keep(folder, results, task)
    told = claim(found, {task for task in found if study["tasks"][task]["retrieval"]})
    (results / "claim.md").write_text(told)
    print(told)
    print(f"written to {results}")


def options_of(study: dict[str, Any], task: str, reduced: bool) -> list[str]:
    """The options of a task in the full or the reduced study."""
    options = [*study["common"], *study["tasks"][task]["options"]]
    if not reduced:
        return options
    return [*options, *study["reduced"]["common"], *study["reduced"]["options"].get(task, [])]


def settings_of(study: dict[str, Any], task: str, reduced: bool) -> dict[str, Any]:
    """Baselines, learning rates and seeds of a task in the full or the reduced study: its own, where it has any.

    The reduced study has learning rates and seeds of its own for all tasks.
    """
    own = {name: study["tasks"][task].get(name, study[name]) for name in ("baselines", "learning_rates", "seeds")}
    if not reduced:
        return own
    of_all = {name: study["reduced"][name] for name in ("learning_rates", "seeds")}
    return own | of_all | {"baselines": study["tasks"][task].get("baselines", study["reduced"]["baselines"])}


def _compared(folder: Path, options: list[str], settings: dict[str, Any], workers: int) -> Path:
    """The folder of the finished comparison of one task, made or gone on with now unless it is there.

    What was searched for the task is there.
    """
    begun = sorted((folder / "compare").glob("*/config.yaml"))
    if begun and (begun[-1].parent / RESULTS).exists():
        return begun[-1].parent
    going_on = [f"resume={begun[-1].parent}"] if begun else []
    full = [sys.executable, "-m", "nas.compare", *_command(folder, options, settings), f"workers={workers}", *going_on]
    print("$", "python", *full[1:], flush=True)
    subprocess.run(full, check=True)
    (made,) = (path.parent for path in (folder / "compare").glob(f"*/{RESULTS}"))
    return made


def _command(folder: Path, options: list[str], settings: dict[str, Any]) -> list[str]:
    """The options of the comparison of one task, of which a search is there."""
    (searched,) = (path.parent for path in (folder / "search").glob("*/*/metrics.json"))
    return [
        *(f"runs=[{searched}]", f"baselines=[{','.join(settings['baselines'])}]", f"seeds={settings['seeds']}"),
        *(f"learning_rates={settings['learning_rates']}".replace(" ", ""), f"output={folder}", *options),
    ]


def _keep(folder: Path, results: Path, task: str) -> None:
    """Copy the table and the figures over lengths of a comparison to where they are committed."""
    (results / f"{task}.md").write_text((folder / MARKDOWN).read_text())
    for figure in KEPT:
        if (folder / figure).exists():
            (results / f"{task}_{figure}").write_bytes((folder / figure).read_bytes())


if __name__ == "__main__":
    main()
