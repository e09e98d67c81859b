"""The trainings of a comparison: each contender over a grid of learning rates, then over seeds at the best rate."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from glob import escape
from itertools import product
from pathlib import Path
from statistics import fmean

from nas.comparisons.contenders import Contender, retrained
from nas.comparisons.grid import OVER_SEEDS, best, grow
from nas.comparisons.recipe import read_run
from nas.config import CompareConfig, SearchConfig, TrainConfig, restore
from nas.files.saving import subfolder
from nas.runs import checkpoints
from nas.runs.folder import ARCHITECTURE, Run, read_json
from nas.runs.metrics import is_finished
from nas.search_spaces.architecture import Architecture

TRAININGS = "train"
"""Folder of the trainings' run folders, as `nas.train` names it."""
SEARCHES = "search"
"""Folder of the run folders of searches, as `nas.search` names it."""
SELECTION = "selection.json"
"""File with the merits of a tuning training by length factor, measured on batches for selection."""
TUNING = 1000
"""Difference between the first seed of the tuning trainings and the first seed of the reported trainings."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        contender: the model to train.
        learning_rate: the peak learning rate.
        seed: the seed of the training.
        tunes: whether the training serves to choose a learning rate; otherwise its figures are reported.
        precedes: whether it is the search of a training with the same fields, whose architecture it finds.
    """

    contender: Contender
    learning_rate: float
    seed: int
    tunes: bool
    precedes: bool = False

    @property
    def name(self) -> str:
        """Return the name of the run folder, which follows the date and time."""
        return f"{self.contender.name}_lr{self.learning_rate:g}_seed{self.seed}{'_search' if self.precedes else ''}"

    @property
    def searches(self) -> bool:
        """Return whether the training is a search."""
        return self.precedes or (self.contender.search is not None and not self.contender.retrained)

    @property
    def search(self) -> "Job | None":
        """Return the search that has to be done before; None if none has to."""
        return replace(self, precedes=True) if self.contender.retrained and not self.precedes else None


def is_tuned(config: CompareConfig, contender: Contender) -> bool:
    """Return whether a contender has tuning trainings: they choose its learning rate, or one of its placements."""
    return len(set(config.learning_rates)) > 1 or contender.placements is not None


def trainings(config: CompareConfig, contenders: Sequence[Contender]) -> int:
    """Return the number of trainings of a comparison: those of tuning, at each learning rate, and the reported ones.

    Searches whose answers are retrained count too; trainings at learning rates that are added to the grid do not.
    """
    tuning = config.tuning_seeds * len(set(config.learning_rates))
    return sum((1 + one.retrained) * (config.seeds + (tuning if is_tuned(config, one) else 0)) for one in contenders)


class Jobs:
    """All trainings of a comparison, and which of them are done.

    Args:
        config: options of the comparison.
        contenders: the models to compare.
        folder: run folder of the comparison.
    """

    def __init__(self, config: CompareConfig, contenders: Sequence[Contender], folder: Path) -> None:
        self.config, self.contenders, self.folder = config, contenders, folder
        self._rates = sorted(set(config.learning_rates))
        self._seeds = [config.seed + TUNING + index for index in range(config.tuning_seeds)]
        tuned = [one for one in contenders if is_tuned(config, one)]
        self._tuning = [Job(one, rate, seed, True) for seed, one, rate in product(self._seeds, tuned, self._rates)]
        self._begun: set[str] = set()
        self._results: dict[str, Run] = {}
        self._merits: dict[Path, float] = {}
        self._added: list[Job] = []
        self.done = {job.name for job in self._known() if self.result(job) is not None}
        self.failed: set[str] = set()

    def __len__(self) -> int:
        """Return the number of trainings that are known to be needed; it grows with the grids of learning rates."""
        return trainings(self.config, self.contenders) + self.added

    @property
    def added(self) -> int:
        """Return the number of trainings at learning rates that were added to the grids so far."""
        self._known()
        return sum(1 + job.contender.retrained for job in self._added)

    def take(self) -> Job | None:
        """Return the next training to run; None if no training is left or if the next ones depend on running ones.

        Searches come first: they take longest, and the trainings of their tuning depend on each other.
        """
        waiting = [job for job in self._known() if job.name not in self._begun and job.name not in self.done]
        job = min(waiting, key=lambda job: not job.searches, default=None)
        if job is not None:
            self._begun.add(job.name)
        return job

    def end(self, job: Job) -> None:
        """Record that a training has ended, as done if its run is finished, otherwise as failed."""
        (self.failed if self.result(job) is None else self.done).add(job.name)

    def number(self, job: Job) -> int:
        """Return the number of a training among all, from 0; those at added learning rates come last.

        A search whose answer is retrained has the number of that training.
        """
        job = replace(job, precedes=False)
        if job in self._added:
            return trainings(self.config, self.contenders) + self._added.index(job)
        if job.tunes:
            return self._tuning.index(job)
        at = self.contenders.index(job.contender)
        return len(self._tuning) + (job.seed - self.config.seed) * len(self.contenders) + at

    def factors(self, job: Job) -> list[int]:
        """Return the lengths at which a tuning training is measured; none for a reported training."""
        return (self.config.tuning_factors or [1]) if job.tunes and not job.precedes else []

    def counted(self, contender: Contender) -> list[Job]:
        """Return the reported trainings of a contender, by seed; its tuning trainings must be done."""
        rate = self.best_rate(contender)
        assert rate is not None
        return [Job(contender, rate, self.config.seed + index, False) for index in range(self.config.seeds)]

    def merits(self, contender: Contender) -> dict[float, float] | None:
        """Return the merit of each tried learning rate of a contender; None before its tuning trainings are done.

        It is the mean merit over the lengths of `tuning_factors`, then over seeds as `tuned_by` says. See
        `nas.evaluation.metrics.merit`.
        """
        rates, complete = self._grid(contender)
        if not complete:
            return None
        found = {rate: self._merit(contender, rate) for rate in rates} if is_tuned(self.config, contender) else {}
        return {rate: merit for rate, merit in found.items() if merit is not None}

    def _grid(self, contender: Contender) -> tuple[list[float], bool]:
        """Return the learning rates of a contender's tuning, and whether all of these trainings are done."""
        if not is_tuned(self.config, contender):
            return self._rates, True
        return grow(self._rates, lambda rate: self._merit(contender, rate), self.config.added_rates)

    def _merit(self, contender: Contender, rate: float) -> float | None:
        """Return the merit of a learning rate over tuning seeds; None before all of its trainings are done."""
        found = [self.result(Job(contender, rate, seed, True)) for seed in self._seeds]
        runs = [run for run in found if run is not None]
        if len(runs) < len(found):
            return None
        for run in runs:
            if run.path not in self._merits:
                self._merits[run.path] = _mean_merit(run.path)
        return OVER_SEEDS[self.config.tuned_by]([self._merits[run.path] for run in runs])

    def best_rate(self, contender: Contender) -> float | None:
        """Return the learning rate with the highest merit, the smallest of equals; None before it is known."""
        merits = self.merits(contender)
        if merits is None:
            return None
        return best(merits) if merits else self._rates[0]

    def result(self, job: Job) -> Run | None:
        """Return the finished run of a training; None if the training is not finished."""
        if job.name not in self._results:
            for path in self._folders(job):
                selected = not self.factors(job) or read_json(path / SELECTION) is not None
                if is_finished(path) and selected:
                    self._results[job.name] = Run(path)
        return self._results.get(job.name)

    def config_of(self, job: Job) -> TrainConfig | SearchConfig:
        """Return the options of a training or a search, which resumes from its newest checkpoint.

        A tuning training is evaluated at the training length alone.
        """
        config, rate = self.config, job.learning_rate
        contender, search = self.trained(job), job.contender.search if job.searches else None
        values = {name: value for name, value in asdict(config).items() if name in TrainConfig.__dataclass_fields__}
        if search is None:
            values["budget"] = asdict(contender.budget)
            values["dense_start"] = config.dense_start and not contender.searched
            values["architecture"] = str(self._architecture(contender.architecture, job))
        else:
            values = asdict(search) | {"data": values["data"]}
        trainer = replace(
            config.trainer if search is None else search.trainer,
            learning_rate=rate,
            router_learning_rate=config.trainer.router_learning_rate * rate / config.trainer.learning_rate,
        )
        if job.tunes:
            values["data"] = values["data"] | {"length_factors": [1]}
        values |= {"trainer": asdict(trainer), "logger": asdict(config.logger), "seed": job.seed}
        values |= {"name": job.name, "output": str(self.folder), "resume": self._partial(job)}
        made = restore("train" if search is None else "search", values)
        assert isinstance(made, TrainConfig | SearchConfig)
        return made

    def trained(self, job: Job) -> Contender:
        """Return the contender of a training; that of its own architecture if a search has found it."""
        if job.search is None:
            return job.contender
        found = self.result(job.search)
        assert found is not None
        return retrained(job.contender, read_run(str(found.path), diverged=True))

    def _architecture(self, architecture: Architecture, job: Job) -> Path:
        """Return the path of a file with the architecture, which is written if it does not exist."""
        run = Run(subfolder(subfolder(self.folder, "contenders"), job.name if job.search else job.contender.name))
        if not (run.path / ARCHITECTURE).exists():
            run.write_text(ARCHITECTURE, architecture.to_json())
        return run.path / ARCHITECTURE

    def _partial(self, job: Job) -> str | None:
        """Return a run folder of the training with a checkpoint to resume from; None without one."""
        return next((str(path) for path in self._folders(job) if checkpoints.begun(path)), None)

    def _folders(self, job: Job) -> list[Path]:
        """Return the run folders of a training, the newest first.

        The pattern has the date and time, because the name of another training may end in the name of this one.
        """
        folder = self.folder / (SEARCHES if job.searches else TRAININGS)
        return sorted(folder.glob(f"????-??-??_??-??-??_{escape(job.name)}"), reverse=True)

    def _known(self) -> list[Job]:
        """Return the trainings known so far, in order: reported ones are known once their learning rate is.

        A learning rate is added to the grid of a contender once the rates before it are done. The training of an answer
        is known once its search is done.
        """
        for one, seed in product(self.contenders, self._seeds):
            added = [Job(one, rate, seed, True) for rate in self._grid(one)[0] if rate not in self._rates]
            self._added += [job for job in added if job not in self._added]
        tuned = [one for one in self.contenders if self.best_rate(one) is not None]
        every = [job for one in tuned for job in self.counted(one)]
        found = list[Job]()
        for job in [*self._tuning, *self._added, *sorted(every, key=lambda job: job.seed)]:
            found += [] if job.search is None else [job.search]
            found += [job] if job.search is None or self.result(job.search) is not None else []
        return found


def _mean_merit(folder: Path) -> float:
    """Return the mean merit of a tuning training over lengths; earlier versions wrote that of the training length."""
    written = read_json(folder / SELECTION)
    merits = list(written["merits"].values()) if "merits" in written else [written["merit"]]
    return fmean(-math.inf if merit is None else merit for merit in merits)
