"""One training or search of a comparison in a worker: as its command runs it, with progress events and merits."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import lightning
from rich.console import Console

from nas.cli.checks import check
from nas.comparisons.jobs import SELECTION
from nas.config import SearchConfig, TrainConfig
from nas.data import byte_lengths_of
from nas.data.batch import selection_of
from nas.errors import INTERRUPTED, UserError
from nas.evaluation.evaluate import evaluate
from nas.evaluation.metrics import merit
from nas.jobs.errors import keep_traceback
from nas.jobs.events import Began, Ended, Released, Report, Stepped
from nas.jobs.processes import orphaned
from nas.report.units import number
from nas.runs.metrics import read_metrics
from nas.supernet.discretised import Discretised
from nas.training.callbacks import shown
from nas.training.module import TrainingModule
from nas.workflows.search import run_search
from nas.workflows.train import run_training


class Watch(lightning.Callback):
    """Reports the steps of a training, and stops it once the command's process is gone."""

    def __init__(self, job: int, report: Report) -> None:
        self._job, self._report = job, report

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, TrainingModule)
        if module.logs_at(trainer.global_step):
            figures = f"{module.config.name}  {shown(module)}"
            self._report(Stepped(self._job, trainer.global_step, int(trainer.max_steps), figures))
            if orphaned():
                trainer.should_stop = True


def work(config: TrainConfig | SearchConfig, job: int, factors: Sequence[int], report: Report) -> bool:
    """Run one training or search in its run folder; if this process is a worker, only as long as its command lives.

    Args:
        config: options of the training or search.
        job: number of the training among all, from 0.
        factors: lengths at which a training that serves to choose a learning rate is measured; none if it is reported.
        report: called with the events of the training.

    Returns:
        True to continue with other trainings; False if the user has stopped this one.
    """
    report(Began(job, config.name))
    try:
        check(config)
        console, watch = Console(file=StringIO()), [Watch(job, report)]
        if isinstance(config, SearchConfig):
            outcome = run_search(config, console, watch)
        else:
            outcome = run_training(config, console, watch)
    except UserError as error:
        report(Released(job, str(error)))
        return True
    except Exception as error:  # for example too little memory beside other trainings
        report(Released(job, keep_traceback(error, Path(config.output), config.name)))
        return True
    if outcome.status == INTERRUPTED:
        report(Released(job, "stopped"))
        return False
    if factors:
        assert outcome.discretised is not None
        merits = {factor: _merit(outcome.module, outcome.discretised, factor) for factor in factors}
        outcome.run.write_json(SELECTION, {"merits": merits})
    metrics = read_metrics(outcome.run.path)
    quality = ", ".join(f"{factor}x {number(own.quality)}" for factor, own in metrics.learnt.by_factor.items())
    report(Ended(job, f"{metrics.quality.replace('_', ' ')} {quality}", 0, ""))
    return True


def _merit(module: TrainingModule, trained: Discretised, factor: int) -> float:
    """Return the merit of a trained model on selection batches of a length, which reported figures do not use."""
    task, count = module.task, module.config.data.validation_batches
    with module.autocast():
        batches = selection_of(task, count, factor)
        result = evaluate(trained.model, batches, task.quality, trained.policy, byte_lengths=byte_lengths_of(task))
    return merit(task.quality, result.quality, result.loss)
