"""One training of a comparison in a worker: as nas.train would do it, watched, and measured for selection."""

from io import StringIO
from pathlib import Path
from typing import Any

import lightning
from rich.console import Console

from nas.cli.checks import check
from nas.comparisons.jobs import SELECTION
from nas.config import TrainConfig
from nas.errors import UserError
from nas.evaluation.evaluate import evaluate
from nas.evaluation.metrics import merit
from nas.jobs.errors import keep_traceback
from nas.jobs.events import Began, Ended, Left, Stepped, Tell
from nas.jobs.processes import orphaned
from nas.report.units import number
from nas.runs.metrics import read_metrics
from nas.supernet.discretised import Discretised
from nas.training.callbacks import shown
from nas.training.module import TrainingModule
from nas.workflows.train import run_training


class Watch(lightning.Callback):
    """Tells of the steps, and ends training where nobody is left to listen."""

    def __init__(self, job: int, tell: Tell, parent: int | None) -> None:
        self._job, self._tell, self._parent = job, tell, parent

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, TrainingModule)
        if module.logs_at(trainer.global_step):
            figures = f"{module.config.name}  {shown(module)}"
            self._tell(Stepped(self._job, trainer.global_step, int(trainer.max_steps), figures))
            if orphaned(self._parent):
                trainer.should_stop = True


def work(config: TrainConfig, job: int, tunes: bool, tell: Tell, parent: int | None = None) -> bool:
    """Make one training, in its run folder.

    Args:
        config: of the training.
        job: number of the training among all, from 0.
        tunes: whether a learning rate is chosen by it.
        tell: hears of it.
        parent: process without which this one is to stop; None for none.

    Returns:
        Whether to go on with others: not once the user has stopped it.
    """
    tell(Began(job, config.name))
    try:
        check(config)
        outcome = run_training(config, Console(file=StringIO()), [Watch(job, tell, parent)])
    except UserError as error:
        tell(Left(job, str(error)))
        return True
    except Exception as error:  # memory is short beside others, say
        tell(Left(job, keep_traceback(error, Path(config.output), config.name)))
        return True
    if outcome.status:
        tell(Left(job, "stopped"))
        return False
    if tunes:
        assert outcome.discretised is not None
        outcome.run.write_json(SELECTION, {"merit": _merit(outcome.module, outcome.discretised)})
    metrics = read_metrics(outcome.run.path)
    quality = ", ".join(f"{factor}x {number(own.quality)}" for factor, own in metrics.learnt.by_factor.items())
    tell(Ended(job, f"{config.name}: {metrics.quality.replace('_', ' ')} {quality}", 0, ""))
    return True


def _merit(module: TrainingModule, trained: Discretised) -> float:
    """Merit of a trained model on batches that no reported figure is measured on."""
    task = module.task
    with module.autocast():
        batches = task.selection_batches(module.config.data.validation_batches)
        result = evaluate(trained.model, batches, task.quality, trained.policy)
    return merit(task.quality, result.quality, result.loss)
