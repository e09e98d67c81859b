"""Compare searched token hybrids with hybrids designed by hand on retrieval over long contexts.

    python -m experiments.token_vs_hand --workers 20                    # all of it, on a GPU
    python -m experiments.token_vs_hand --reduced                       # one task, small: minutes on a CPU
    python -m experiments.token_vs_hand --tasks mqar needle_noise --workers 14

For each task `nas.search` searches a token hybrid, and `nas.compare` compares it with hybrids designed by hand. Tasks
run side by side and share the workers; at the end every model is timed alone. Finished runs are not repeated, and
stopped runs are resumed. The options are in config.yaml beside this file.

On one GPU start NVIDIA's Multi-Process Service first (nvidia-cuda-mps-control -d). Without it the kernels of different
processes take turns, and models as small as these leave most of the GPU idle.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import yaml

from experiments.runs import finished_run, run_once, status_of
from experiments.token_vs_hand.claim import claim
from nas.comparisons.finish import MARKDOWN
from nas.comparisons.results import RESULTS, Comparison
from nas.runs.folder import read_json

HERE = Path(__file__).parent
SEARCH = ("nas.search", "+space=token_hybrid")
KEPT = ("quality_by_length.png", "bits_by_position.png")
"""Committed figures; those of cost repeat the tables."""


class Task(NamedTuple):
    """One task of the study.

    Attributes:
        folder: output folder of its runs.
        options: options of its search and its comparison.
        settings: options of its comparison alone, see `SETTINGS`.
    """

    folder: Path
    options: list[str]
    settings: dict[str, Any]

    @property
    def begun(self) -> Path | None:
        """Return the folder of its comparison, or None if that has not begun."""
        return max((path.parent for path in (self.folder / "compare").glob("*/config.yaml")), default=None)

    def train(self, workers: int, log: TextIO | None) -> None:
        """Search and compare, unless both are done; ``log`` gets the commands' output, None means this process's."""
        run_once(self.folder / "search", [*SEARCH, *self.options], {} if workers == 1 else ONE_THREAD, log)
        if self.begun is None or not (self.begun / RESULTS).exists():
            self._compare(log, "timing=false", f"workers={workers}")

    def time(self) -> None:
        """Time the models of the comparison, unless all are timed."""
        assert self.begun is not None
        found = Comparison.from_dict(read_json(self.begun / RESULTS))
        if any(run.decode_seconds is None for one in found.contenders for run in one.runs):
            self._compare(None, "timing=true", "workers=1")

    def _compare(self, log: TextIO | None, *options: str) -> None:
        searched = finished_run(self.folder / "search")
        settings = (f"{name}={value}".replace(" ", "").replace("'", "") for name, value in self.settings.items())
        command = [
            *("nas.compare", f"runs=[{searched}]", f"output={self.folder}", *settings, *PROTOCOL),
            *(*self.options, *options),
            *([] if self.begun is None else [f"resume={self.begun}"]),
        ]
        print("$ python -m", *command, flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=log, stderr=log)


PROTOCOL = ("tuned_by=mean", "tuning_factors=[1]", "added_rates=0")
"""How the committed results chose learning rates."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def main() -> None:
    """Run the study: parse the command line, make missing runs, write the tables and figures."""
    study = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(prog="python -m experiments.token_vs_hand", description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=list(study["tasks"]), help="tasks to run (default: all)")
    parser.add_argument("--reduced", action="store_true", help="small models and one task, for a CPU")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time, over all tasks (default: 1)")
    parser.add_argument("--output", type=Path, help="where the runs go (default: outputs/token_vs_hand)")
    parser.add_argument("--results", type=Path, help="where tables and figures go (default: beside this file)")
    parser.add_argument("overrides", nargs="*", help="options for every command, for example trainer.steps=600")
    given = parser.parse_args()
    if given.workers < 1:
        parser.error(f"--workers {given.workers} is not allowed; give 1 or more")
    output = given.output or Path("outputs") / ("token_vs_hand_reduced" if given.reduced else "token_vs_hand")
    results = given.results or (HERE / "reduced" if given.reduced else HERE)
    results.mkdir(parents=True, exist_ok=True)
    names = given.tasks or list((study["reduced"] if given.reduced else study)["tasks"])
    tasks = {
        name: Task(
            output / name,
            [*options_of(study, name, given.reduced), *given.overrides],
            settings_of(study, name, given.reduced),
        )
        for name in names
    }
    _train(tasks, given.workers)
    for name, task in tasks.items():
        task.time()
        assert task.begun is not None
        _keep(task.begun, results, name)
    found = {
        name: Comparison.from_dict(kept) for name in study["tasks"] if (kept := read_json(_results_file(results, name)))
    }
    text = claim(found, {name for name in found if study["tasks"][name]["retrieval"]})
    (results / "claim.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {results}")


def options_of(study: dict[str, Any], task: str, reduced: bool) -> list[str]:
    """Return the options of a task in the full or the reduced study."""
    options = [*study["common"], *study["tasks"][task]["options"]]
    if not reduced:
        return options
    return [*options, *study["reduced"]["common"], *study["reduced"]["options"].get(task, [])]


def settings_of(study: dict[str, Any], task: str, reduced: bool) -> dict[str, Any]:
    """Return the `SETTINGS` of a task; in the full study a task may override them."""
    if reduced:
        return {name: study["reduced"][name] for name in SETTINGS}
    return {name: study["tasks"][task].get(name, study[name]) for name in SETTINGS}


SETTINGS = ("baselines", "learning_rates", "tuning_seeds", "seeds")
"""Options of nas.compare that searches do not have."""


def _train(tasks: dict[str, Task], workers: int) -> None:
    """Make all trainings of all tasks, with as many tasks at a time as there are workers for.

    Raises:
        CalledProcessError: a training failed; raised after the last one.
    """
    at_a_time = min(workers, len(tasks))

    def train(name: str) -> None:
        task = tasks[name]
        if at_a_time == 1:
            task.train(workers, None)
        else:
            task.folder.mkdir(parents=True, exist_ok=True)
            with (task.folder / "log.txt").open("a", encoding="utf-8") as log:
                print(f"{name}: its output goes to {task.folder / 'log.txt'}", flush=True)
                task.train(max(1, workers // at_a_time), log)
            print(f"{name}: trained", flush=True)

    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            for ended in [pool.submit(train, name) for name in tasks]:
                ended.result()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _keep(folder: Path, results: Path, task: str) -> None:
    """Copy the table of a comparison, its figures over lengths and the results of all trainings to the committed
    folder.
    """
    (results / f"{task}.md").write_text((folder / MARKDOWN).read_text(encoding="utf-8"), encoding="utf-8")
    _results_file(results, task).write_text(
        json.dumps(read_json(folder / RESULTS), separators=(",", ":")) + "\n", encoding="utf-8"
    )
    for figure in KEPT:
        if (folder / figure).exists():
            (results / f"{task}_{figure}").write_bytes((folder / figure).read_bytes())


def _results_file(results: Path, task: str) -> Path:
    """Return the path of a task's results; the claim is tested on those of all tasks, also of earlier runs."""
    return results / f"{task}.json"


if __name__ == "__main__":
    sys.exit(status_of(main))
