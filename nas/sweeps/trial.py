"""One trial of a sweep: a search with the values that the sampler chose, and a callback that can end it early."""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import optuna
from lightning.pytorch.loggers import TensorBoardLogger
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from nas.cli.checks import check
from nas.cli.composing import compose_search
from nas.cli.overrides import Value
from nas.config import SearchConfig, SweepConfig, renamed
from nas.errors import INTERRUPTED, UserError
from nas.files.saving import CannotWrite
from nas.jobs.errors import keep_traceback
from nas.jobs.events import Report, Stepped
from nas.runs.folder import ALONE, CONFIG
from nas.runs.metrics import Metrics, read_metrics
from nas.searchers import HALVING
from nas.sweeps.heartbeat import TAKEN_OVER, Heartbeat
from nas.sweeps.objectives import Objective, diverged
from nas.sweeps.queue import Attribute
from nas.training.callbacks import shown
from nas.training.module import TrainingModule
from nas.workflows.search import run_search


class State(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"  # by the user, or because another worker has taken the trial over


class Outcome(NamedTuple):
    """How a trial ended.

    Attributes:
        state: the state of the trial.
        values: values of the objectives; empty unless the trial is complete.
        figures: the same values by name of the objective.
        reason: why the trial is not complete; empty if it is.
    """

    state: State
    values: list[float]
    figures: dict[str, float]
    reason: str


class _Ended(Exception):
    """Ends a training before its last step."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


class Watch(lightning.Callback):
    """Reports the steps of a trial, reports its quality to the pruner, and ends it early for a reason.

    Args:
        trial: the trial in the study.
        number: number of the trial, from 0.
        prune_every: training steps between two reports to the pruner; None for no pruning.
        beat: the heartbeat, which may have a reason to stop.
        report: called with the events of the trial.
    """

    def __init__(
        self, trial: optuna.Trial, number: int, prune_every: int | None, beat: Heartbeat, report: Report
    ) -> None:
        self._trial, self._number, self._every = trial, number, prune_every
        self._beat, self._report = beat, report

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(trainer.logger, TensorBoardLogger)
        folder = Path(trainer.logger.save_dir).resolve()
        run = folder.parents[1] if folder.parent.name == ALONE else folder
        self._trial.set_user_attr(Attribute.RUN, str(run))

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, TrainingModule)
        assert isinstance(module.config, SearchConfig)
        step = trainer.global_step
        self._report(Stepped(self._number, step, int(trainer.max_steps), shown(module) if module.logs_at(step) else ""))
        if self._beat.stop:
            raise _Ended(State.STOPPED, self._beat.stop)
        if module.diverged_at is not None and module.config.searcher.name == HALVING:
            return  # only this architecture is dropped
        if module.diverged_at is not None:
            raise _Ended(State.FAILED, f"training diverged: the loss or a weight is not a finite number at step {step}")
        if trainer.should_stop:
            raise _Ended(State.STOPPED, "stopped by the user")
        if self._every and step % self._every == 0 and step < trainer.max_steps:
            quality = module.validate().quality
            self._trial.report(quality, step)
            if self._trial.should_prune():
                raise _Ended(State.PRUNED, f"{module.task.quality} was {quality:.3f} at step {step}")


def run_trial(
    config: SweepConfig,
    values: Mapping[str, Value],
    objectives: list[Objective],
    run: Path | None,
    watch: Callable[[], Watch],
    folder: Path,
    number: int,
) -> Outcome:
    """Run the search of a trial in its own run folder, and return how it ended.

    Args:
        config: config of the sweep.
        values: values of the trial, by option.
        objectives: the objectives to measure.
        run: run folder of the trial that this one retries, to resume from its checkpoint; None otherwise.
        watch: function that makes the callback of the training.
        folder: run folder of the sweep.
        number: number of the trial, from 0.
    """
    try:
        searched = run_search(
            trial_config(config, values, run, folder, number), _quiet(), [watch()], hyperparameters=False
        )
    except _Ended as ended:
        return Outcome(ended.state, [], {}, ended.reason)
    except UpdateFinishedTrialError:
        return Outcome(State.STOPPED, [], {}, TAKEN_OVER)
    except (OptunaError, SQLAlchemyError, OSError, CannotWrite):
        raise  # the values of the trial are not the cause: the next trial would fail as well
    except UserError as error:
        if run is not None:  # the run cannot be resumed, at least not on this machine
            return run_trial(config, values, objectives, None, watch, folder, number)
        return Outcome(State.FAILED, [], {}, str(error))
    except Exception as error:  # the cause may be the values, for example too little memory: other values may work
        return Outcome(State.FAILED, [], {}, keep_traceback(error, folder, name_of(number)))
    if searched.status == INTERRUPTED:  # during the alignment or the healing
        return Outcome(State.STOPPED, [], {}, "stopped by the user")
    return _outcome(read_metrics(searched.run.path), objectives)


def name_of(number: int) -> str:
    """Return the name of a trial in names of folders; trials are numbered from 1 wherever they are shown."""
    return f"trial_{number + 1:04d}"


def trial_config(
    config: SweepConfig, values: Mapping[str, Value], run: Path | None, folder: Path, number: int
) -> SearchConfig:
    """Return the checked config of a trial's search: the options of the sweep with these values; see `run_trial`."""
    if config.resume is not None:  # the ranges are those of its start, perhaps by an earlier version
        values = {option: renamed(option, value) for option, value in values.items()}
    search = compose_search(config.sweep.search, values)
    search.output, search.name, search.plugins = str(folder), name_of(number), config.plugins
    if search.trainer.devices == "auto":
        search.trainer.devices = 1
    search.resume = None if run is None else local(run, folder, shared=config.sweep.storage is not None)
    check(search)
    return search


def local(run: Path, folder: Path, shared: bool = False) -> str | None:
    """Return the path of a trial's run folder on this machine; None if it is missing.

    The folder of the sweep may have been moved. A study in the folder names only runs in it, or comes from somebody
    else and names any folder; with a shared storage a trial may have begun in the folder of another command.
    """
    places = (folder / "search" / run.name, *([run] if shared else []))
    return next((str(place) for place in places if (place / CONFIG).exists()), None)


def _quiet() -> Console:
    """Return a console that discards the messages of a search; the sweep shows its steps instead."""
    return Console(file=StringIO())


def _outcome(metrics: Metrics, objectives: list[Objective]) -> Outcome:
    """Return the outcome of a finished search, which failed if an objective is not finite."""
    if reason := diverged(metrics):
        return Outcome(State.FAILED, [], {}, reason)
    measured = {objective.name: objective.of(metrics) for objective in objectives}
    if missing := [name for name, value in measured.items() if not math.isfinite(value)]:
        return Outcome(State.FAILED, [], {}, f"the search has no {', '.join(missing)}")
    values = {name: float(value) for name, value in measured.items()}
    return Outcome(State.COMPLETE, list(values.values()), values, "")
