"""The comparisons of the study, two for each task: of searches with hybrids by hand, and of routes without content."""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from experiments.command_line import in_mode
from experiments.halving import search_steps
from experiments.runs import execute
from nas.comparisons.metrics_file import layer_shares
from nas.comparisons.results import RESULTS, Comparison, TrainedContender
from nas.runs.folder import ARCHITECTURE, Run, read_json
from nas.runs.metrics import is_finished, read_metrics
from nas.runs.model_files import load_architecture
from nas.search_spaces.placements import placements
from nas.searchers.halving.results import RUNGS, Results

FLAGSHIP = "joint"
"""The search that the rule is about, and whose routes the controls take over."""
LEAST_SHARE = 0.005
"""Softmax share from which a layer counts as one that a search found."""


class Settings(NamedTuple):
    """What a task compares; see config.yaml."""

    searched: dict[str, list[str]]
    baselines: list[str]
    controls: list[str]
    dense_start: bool
    learning_rates: list[float]
    added_rates: int
    tuning_seeds: int
    tuning_factors: list[int]
    seeds: int

    @property
    def protocol(self) -> list[str]:
        """Options that both comparisons of a task have in common."""
        names = ("dense_start", "learning_rates", "added_rates", "tuning_seeds", "tuning_factors", "seeds")
        return [f"{name}={getattr(self, name)}".replace(" ", "").replace("True", "true") for name in names]


class Stage(NamedTuple):
    """One comparison of a task.

    Attributes:
        folder: output folder of the comparison alone.
        options: options of nas.compare.
        steps: training steps of all its trainings, without those at learning rates that are added to the grid.
        each: training steps of one training that is not a search by halving.
    """

    folder: Path
    options: list[str]
    steps: int
    each: int

    @property
    def begun(self) -> Path | None:
        """The run folder of the comparison; None if it has not begun."""
        return max((path.parent for path in (self.folder / "compare").glob("*/config.yaml")), default=None)

    @property
    def result(self) -> Comparison | None:
        """The results of the comparison; None before all of its trainings are done."""
        found = None if self.begun is None else read_json(self.begun / RESULTS)
        return None if found is None else Comparison.from_dict(found)

    @property
    def done(self) -> int:
        """The training steps of the finished trainings."""
        finished = [] if self.begun is None else list(filter(is_finished, self.begun.glob("*/*/")))
        return sum(Results(Run(run)).steps if (run / RUNGS).exists() else self.each for run in finished)

    def run(self, workers: int, deadline: float | None) -> Comparison:
        """Make the missing trainings, unless there are none, and return the results."""
        if self.result is None:
            begun = self.begun
            own = self.options if begun is None else [*self.options, f"resume={begun}"]
            command = ["nas.compare", *own, f"output={self.folder}", f"workers={workers}", "timing=false"]
            print("$ python -m", *command, flush=True)
            execute([sys.executable, "-m", *command], {} if workers == 1 else {"OMP_NUM_THREADS": "1"}, None, deadline)
        found = self.result
        assert found is not None
        return found


@dataclass(frozen=True)
class Task:
    """One task of the study.

    Attributes:
        name: its name.
        folder: output folder of its runs.
        options: options of its comparisons.
        settings: what it compares.
    """

    name: str
    folder: Path
    options: list[str]
    settings: Settings

    @property
    def main(self) -> Stage:
        """The comparison of searches with hybrids by hand."""
        every_search = (" ".join([space, f"name={space}", *own]) for space, own in self.settings.searched.items())
        searched = ",".join(f"'{search}'" for search in every_search)
        own = [f"searched=[{searched}]", f"baselines=[{','.join(self.settings.baselines)}]"]
        every = [one for name in self.settings.baselines for one in placements(name) or [name]]
        searches = sum(
            search_steps(f"+space={space}", *self.options, *own) for space, own in self.settings.searched.items()
        )
        return self._stage("main", own, searches + len(every) * self.steps)

    def controls(self, main: Comparison) -> Stage:
        """Return the comparison of routes without content, in the layers and at the share that the search found."""
        begun = self.main.begun
        assert begun is not None
        (searched,) = (one for one in main.contenders if one.name == FLAGSHIP)
        layers, share = found_routes(trained(begun, searched))
        routes = [f"model.routed_layers={layers}".replace(" ", ""), "budget.resource=softmax_share"]
        own = [f"baselines=[{','.join(self.settings.controls)}]", *routes, f"budget.target={share:.6f}"]
        return self._stage("controls", own, len(self.settings.controls) * self.steps)

    def run(self, workers: int, deadline: float | None) -> Comparison:
        """Make the missing trainings and return all contenders of the task as one comparison."""
        main = self.main.run(workers, deadline)
        if not self.settings.controls:
            return main
        controls = self.controls(main).run(workers, deadline)
        return replace(main, contenders=(*main.contenders, *controls.contenders))

    @property
    def steps(self) -> int:
        """The number of steps of a training."""
        return int([option for option in self.options if option.startswith("trainer.steps=")][-1].split("=")[1])

    @property
    def left(self) -> int:
        """The training steps that are left, those of the controls included."""
        main = self.main
        controls = self._stage("controls", [], len(self.settings.controls) * self.steps)
        return sum(0 if one.result else max(0, one.steps - one.done) for one in (main, controls))

    def _stage(self, name: str, own: list[str], steps: int) -> Stage:
        """Return a comparison; ``steps`` are those of all contenders with one seed."""
        settings = self.settings
        repeated = settings.seeds + settings.tuning_seeds * len(settings.learning_rates)
        options = [*self.options, *settings.protocol, *own]
        return Stage(self.folder / name, options, steps * repeated, self.steps)


def task_of(study: dict[str, Any], name: str, output: Path, mode: str | None = None, given: Sequence[str] = ()) -> Task:
    """Return a task of the study.

    Args:
        study: content of config.yaml.
        name: name of the task.
        output: output folder of all tasks.
        mode: "pilot" or "smoke" for its changes; None for the study itself.
        given: further options of its comparisons.
    """
    own = study["tasks"][name]
    whole = {"options": [], "settings": study["settings"] | own.get("settings", {})}
    changed = in_mode(whole, study[mode] if mode else None)  # the settings of a task are changed too
    settings, further = Settings(**changed["settings"]), own.get("searches", {})
    searched = {space: [*options, *further.get(space, [])] for space, options in settings.searched.items()}
    options = [*study["common"], *own["options"], *changed["options"], *given]
    return Task(name, output / name, options, settings._replace(searched=searched))


def trained(comparison: Path, contender: TrainedContender) -> list[Path]:
    """Return the run folders of the reported trainings of a contender, by seed.

    Args:
        comparison: run folder of the comparison.
        contender: the contender.
    """
    names = [f"{contender.name}_lr{contender.learning_rate:g}_seed{seed}" for seed in contender.seeds]
    folders = [path for path in sorted(comparison.glob("*/*/")) if is_finished(path)]
    return [next(path for path in folders if re.fullmatch(rf"[\d_-]+_{re.escape(name)}", path.name)) for name in names]


def found_routes(runs: list[Path]) -> tuple[list[int], float]:
    """Return the layers in which most searches keep chunks, and the mean softmax share of these layers there.

    Args:
        runs: run folders of the searches.
    """
    shares = [
        layer_shares(load_architecture(run / ARCHITECTURE), read_metrics(run).learnt.at_training_length.shares)
        for run in runs
    ]
    kept = [tuple(layer for layer, share in enumerate(own) if share >= LEAST_SHARE) for own in shares]
    layers = Counter(one or (0,) for one in kept).most_common(1)[0][0]
    of_these = [own for own, found in zip(shares, kept, strict=True) if found == layers] or shares
    return list(layers), fmean(own[layer] for own in of_these for layer in layers)
