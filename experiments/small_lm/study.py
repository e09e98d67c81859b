"""The trainings of the study: which are needed, which can begin, and what is done for each."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TextIO

from experiments import runs
from experiments.small_lm.corpus import HELD_OUT
from experiments.small_lm.recipe import REPORTED, SEARCH, TUNING, Recipe, softmax_layers
from experiments.small_lm.records import ANSWER, RANDOM, ROUTED, Measured, Trained, is_kept, keep, merit, softmax_share
from nas.comparisons.grid import at_end, best
from nas.errors import UserError
from nas.runs.folder import ARCHITECTURE, CHECKPOINTS
from nas.runs.model_files import load_architecture
from nas.search_spaces.architecture import Architecture


class Job(NamedTuple):
    """One training.

    Attributes:
        stage: one of `experiments.small_lm.recipe.STAGES`.
        contender: name of the contender.
        seed: seed of the training.
        name: path of its folder and of its record, below those of the size.
        command: module and options.
    """

    stage: str
    contender: str
    seed: int
    name: str
    command: list[str]


class Left(NamedTuple):
    """Trainings of a stage that are left, and the tokens of each."""

    stage: str
    trainings: int
    tokens: int


class Study:
    """The study at one size.

    Args:
        config: content of config.yaml.
        size: name of the size.
        output: folder of the runs.
        records: folder of the records.
        corpus: folder that `experiments.small_lm.corpus` made.
        overrides: further options of every training.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        size: str,
        output: Path,
        records: Path,
        corpus: Path,
        overrides: Sequence[str] = (),
    ) -> None:
        own, tuning = config["sizes"][size], config["tuning"]
        self.config, self.size, self.recipe = config, size, Recipe(config, size, corpus, overrides)
        self.answer_of: str = own.get("answer_of", size)
        self.seeds = [config["seed"] + index for index in range(own["seeds"])]
        self._tuning_seed, self._rates = tuning["seed"], [float(rate) for rate in tuning["learning_rates"]]
        self._output, self._records, self._held_out = output / size, records / size, corpus / HELD_OUT
        self._search = records / self.answer_of / _search_name()

    @property
    def names(self) -> list[str]:
        """The contenders; of hybrids by hand those that the tuning trainings have not ruled out so far."""
        routes = self.answer is None or softmax_layers(self.answer)
        hybrids = self.hybrids or self.recipe.offsets
        return [*self.config["contenders"]["references"], *hybrids, ANSWER, *([ROUTED, RANDOM] if routes else [])]

    @property
    def hybrids(self) -> list[str] | None:
        """The hybrids by hand that tuning trainings do not rule out; None before these trainings are done."""
        merits = {name: max(own.values()) for name in self.recipe.offsets if (own := self.merits(name)) is not None}
        if len(merits) < len(self.recipe.offsets):
            return None
        least = max(merits.values()) * (1 + self.config["contenders"]["ruled_out"])  # merits are negative
        return [name for name, own in merits.items() if own >= least]

    @property
    def answer(self) -> Architecture | None:
        """The layers that the search found; None before it is done."""
        return load_architecture(self._search / ARCHITECTURE) if is_kept(self._search) else None

    def merits(self, name: str) -> dict[float, float] | None:
        """Return the merit of a contender by learning rate; None before its tuning trainings are done.

        With a single learning rate only hybrids by hand have tuning trainings, and the merit of others counts as 0.
        """
        if not self._tuned(name):
            return {self._rates[0]: 0.0}
        records = {rate: self._record(TUNING, name, rate, self._tuning_seed) for rate in self._rates}
        return {rate: merit(one) for rate, one in records.items()} if all(map(is_kept, records.values())) else None

    def rate(self, name: str) -> float | None:
        """Return the learning rate of a contender with the best merit; None before it is known."""
        merits = self.merits(name)
        return None if merits is None else best(merits)

    def rate_at_end(self, name: str) -> str | None:
        """Return the end of the grid at which the rate of a contender is, "smallest" or "largest"; else None."""
        merits = self.merits(name)
        return None if merits is None else at_end(merits, best(merits))

    def trained(self) -> list[Trained]:
        """Return the reported trainings that are done, contender by contender.

        Raises:
            UserError: trainings were measured at different lengths, so that they cannot be compared.
        """
        records = ((name, self._reported(name, seed)) for name in self.names for seed in self.seeds)
        context = self.config["context"]
        found = [Trained.read(record, name, context) for name, record in records if record and is_kept(record)]
        for one in found:
            if one.bits.keys() != found[0].bits.keys():
                raise UserError(
                    f"{one.name} of seed {one.seed} was measured at {list(one.bits)} tokens, {found[0].name} at "
                    f"{list(found[0].bits)}; delete the records in {self._records / REPORTED} that have other lengths."
                )
        return found

    def ready(self) -> Iterator[Job]:
        """Yield the trainings that are not done and can begin: the search, tuning, reported trainings by seed."""
        if self.answer_of == self.size and not is_kept(self._search):
            yield Job(SEARCH, ANSWER, self.config["search"]["seed"], _search_name(), self.recipe.search())
        for name in filter(self._tuned, self.names):
            for rate in self._rates:
                yield from self._job(TUNING, name, rate, self._tuning_seed)
        for seed in self.seeds if self.hybrids else ():
            for name in self.names:
                if (chosen := self.rate(name)) is not None:
                    yield from self._job(REPORTED, name, chosen, seed)

    def left(self) -> list[Left]:
        """Return the trainings that are left by stage, those that cannot begin yet included."""
        search = [self._search] if self.answer_of == self.size else []
        tuned = filter(self._tuned, self.names)
        tuning = [self._record(TUNING, name, rate, self._tuning_seed) for name in tuned for rate in self._rates]
        reported = [self._reported(name, seed) for name in self.names for seed in self.seeds]
        every: dict[str, Sequence[Path | None]] = {SEARCH: search, TUNING: tuning, REPORTED: reported}
        return [
            Left(stage, sum(one is None or not is_kept(one) for one in records), self.recipe.tokens(stage))
            for stage, records in every.items()
        ]

    def folder(self, job: Job) -> Path:
        """Return the output folder of a training."""
        return self._output / job.name

    def make(self, job: Job, environment: Mapping[str, str], log: TextIO, deadline: float | None) -> None:
        """Train, measure what is reported, and keep the record; continues after an interruption.

        Args:
            job: the training.
            environment: environment variables of the commands.
            log: file for their output.
            deadline: see `experiments.runs.execute`.
        """
        folder = self.folder(job)
        runs.run_once(folder, job.command, environment, log, deadline)
        run = runs.finished_run(folder)
        measured = self._measure(folder, run, environment, log, deadline) if job.stage == REPORTED else None
        keep(self._records / job.name, run, measured)
        shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)
        print(f"{self.size}: {job.name} is done", flush=True)

    def _measure(
        self, folder: Path, run: Path, environment: Mapping[str, str], log: TextIO, deadline: float | None
    ) -> Measured:
        """Evaluate and time a run."""
        measured = Measured([], folder / "timing.json")
        for number, options in enumerate(self.config["evaluation"], start=1):
            measured.evaluations.append(folder / f"evaluation_{number}")
            places = [f"run={run}", f"output={measured.evaluations[-1]}", f"suites.path={self._held_out}"]
            runs.execute([sys.executable, "-m", "nas.evaluate", *places, *options], environment, log, deadline)
        timed = ["experiments.small_lm.timing", str(run), str(self.config["context"]), str(measured.timing)]
        runs.execute([sys.executable, "-m", *timed], environment, log, deadline)
        return measured

    def _tuned(self, name: str) -> bool:
        return len(self._rates) > 1 or name in self.recipe.offsets

    def _job(self, stage: str, name: str, rate: float, seed: int) -> Iterator[Job]:
        """Yield the training unless it is done, or depends on trainings that are not done."""
        answer, share = self.answer, self._share(stage) if name == RANDOM else None
        known = (name not in (ANSWER, ROUTED, RANDOM) or answer) and (name != RANDOM or share is not None)
        if known and not is_kept(self._record(stage, name, rate, seed)):
            command = self.recipe.training(name, stage, rate, seed, answer, share)
            yield Job(stage, name, seed, _name(stage, name, rate, seed), command)

    def _share(self, stage: str) -> float | None:
        """Return the softmax share of random routes, that of the routers of the same stage; None before it is known."""
        rate = self.rate(ROUTED)
        seeds = [self._tuning_seed] if stage == TUNING else self.seeds
        records = [] if rate is None else [self._record(stage, ROUTED, rate, seed) for seed in seeds]
        return fmean(map(softmax_share, records)) if records and all(map(is_kept, records)) else None

    def _record(self, stage: str, name: str, rate: float, seed: int) -> Path:
        return self._records / _name(stage, name, rate, seed)

    def _reported(self, name: str, seed: int) -> Path | None:
        """Return the record of a reported training; None before its learning rate is known."""
        rate = self.rate(name)
        return None if rate is None else self._record(REPORTED, name, rate, seed)


def _search_name() -> str:
    return f"{SEARCH}/{ANSWER}"


def _name(stage: str, contender: str, rate: float, seed: int) -> str:
    return f"{stage}/{contender}_lr{rate:g}_seed{seed}"
