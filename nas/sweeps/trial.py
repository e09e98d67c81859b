"""One trial of a sweep: a search with the values that the sampler chose, watched while it trains."""

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
from nas.cli.overrides import Value
from nas.config import SearchConfig, SweepConfig
from nas.errors import UserError
from nas.jobs.errors import keep_traceback
from nas.jobs.events import Stepped, Tell
from nas.runs.folder import CONFIG
from nas.runs.metrics import Metrics, read_metrics
from nas.sweeps.heartbeat import TAKEN_OVER, Heartbeat
from nas.sweeps.objectives import Objective, diverged
from nas.sweeps.options import compose_search
from nas.sweeps.queue import Attribute
from nas.training.callbacks import shown
from nas.training.module import TrainingModule
from nas.workflows.search import run_search


class State(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"  # by the user, or because it is no longer this worker's


class Outcome(NamedTuple):
    """How a trial ended. values: of the objectives, where it is complete; reason: where it is not."""

    state: State
    values: list[float]
    figures: dict[str, float]
    reason: str


class _Ended(Exception):
    """Training is over before its last step."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


class Watch(lightning.Callback):
    """Beside the steps of a trial: tells of them, reports to the pruner, and ends what need not go on."""

    def __init__(self, trial: optuna.Trial, number: int, prune_every: int | None, beat: Heartbeat, tell: Tell) -> None:
        self._trial, self._number, self._every = trial, number, prune_every
        self._beat, self._tell = beat, tell

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        assert isinstance(trainer.logger, TensorBoardLogger)
        folder = Path(trainer.logger.save_dir).resolve()
        self._trial.set_user_attr(Attribute.RUN, str(folder))

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, TrainingModule)
        step = trainer.global_step
        self._tell(Stepped(self._number, step, int(trainer.max_steps), shown(module) if module.logs_at(step) else ""))
        if self._beat.stop:
            raise _Ended(State.STOPPED, self._beat.stop)
        if trainer.should_stop:
            raise _Ended(State.STOPPED, "stopped by the user")
        if module.logs_at(step) and not math.isfinite(loss := module.figures()["loss"]):
            raise _Ended(State.FAILED, f"training diverged: the loss is {loss} at step {step}")
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
    """One search with these values, in a run folder of its own below the sweep's.

    Args:
        config: of the sweep.
        values: by option.
        objectives: what to measure.
        run: the run folder of the trial that this one retries, to go on from where that one is.
        watch: makes the callback beside its steps.
        folder: of the sweep.
        number: of the trial, from 0.
    """
    try:
        searched = run_search(trial_config(config, values, run, folder, number), _quiet(), [watch()])
    except _Ended as ended:
        return Outcome(ended.state, [], {}, ended.reason)
    except UpdateFinishedTrialError:
        return Outcome(State.STOPPED, [], {}, TAKEN_OVER)
    except UserError as error:
        if run is not None:  # what is there cannot be gone on with, on this machine at least
            return run_trial(config, values, objectives, None, watch, folder, number)
        return Outcome(State.FAILED, [], {}, str(error))
    except (OptunaError, SQLAlchemyError, OSError):
        raise  # not for what the trial is: the next one would end here as well
    except Exception as error:  # memory is short for these values, or a step cannot compute with them: others may do
        return Outcome(State.FAILED, [], {}, keep_traceback(error, folder, name_of(number)))
    return _measured(read_metrics(searched.run.path), objectives)


def name_of(number: int) -> str:
    """What a trial is called in folders: counted from 1, as in all that is shown."""
    return f"trial_{number + 1:04d}"


def trial_config(
    config: SweepConfig, values: Mapping[str, Value], run: Path | None, folder: Path, number: int
) -> SearchConfig:
    """The search of a trial: the sweep's options with these values, checked; see `run_trial`."""
    search = compose_search(config.sweep.search, values)
    search.output, search.name, search.plugins = str(folder), name_of(number), config.plugins
    if search.trainer.devices == "auto":
        search.trainer.devices = 1
    search.resume = None if run is None else _found(run, folder)
    check(search)
    return search


def _found(run: Path, folder: Path) -> str | None:
    """The run folder to go on in, where this machine has it; a sweep's folder may have been moved."""
    places = (run, folder / "search" / run.name)
    return next((str(place) for place in places if (place / CONFIG).exists()), None)


def _quiet() -> Console:
    """What a search says of itself is in its run folder; the sweep tells of its steps."""
    return Console(file=StringIO())


def _measured(metrics: Metrics, objectives: list[Objective]) -> Outcome:
    if reason := diverged(metrics):
        return Outcome(State.FAILED, [], {}, reason)
    measured = {objective.name: objective.of(metrics) for objective in objectives}
    if missing := [name for name, value in measured.items() if not math.isfinite(value)]:
        return Outcome(State.FAILED, [], {}, f"the search has no {', '.join(missing)}")
    values = {name: float(value) for name, value in measured.items()}
    return Outcome(State.COMPLETE, list(values.values()), values, "")
