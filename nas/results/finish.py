"""The end of a run: discretise the supernet, then measure, write and print the result."""

import time
from dataclasses import replace
from typing import NamedTuple

from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from nas.config import RunConfig, SearchConfig
from nas.data import Task, byte_lengths_of
from nas.distributed.devices import peak_flops
from nas.distributed.rendezvous import from_first
from nas.errors import INTERRUPTED
from nas.evaluation.routing_map import RoutingMap, routing_map
from nas.results.controls import HEALED, controls, learnt
from nas.results.measure import measure
from nas.results.original import evaluate_original
from nas.results.terminal import print_results
from nas.results.training_record import TrainingRecord
from nas.results.write import log_hyperparameters, quality_of, write_results, write_run_report
from nas.runs.folder import Run
from nas.runs.history import FINAL, history, mean_share
from nas.runs.metrics import Metrics, Row
from nas.searchers.select import Selection
from nas.supernet.discretised import Discretised, Validation, discretise
from nas.training.healing.stage import NOT_HEALED, Healing
from nas.training.loggers import finish as finish_loggers
from nas.training.module import TrainingModule
from nas.training.stages.fit import efforts


class Measured(NamedTuple):
    """A discretised model with its figures, and the routing of one sequence if a layer routes."""

    discretised: Discretised
    metrics: Metrics
    routing: RoutingMap | None


class Finished(NamedTuple):
    """The result of `finish`.

    Attributes:
        status: exit status of the command.
        discretised: the trained model after discretising; None in all processes but the first.
    """

    status: int
    discretised: Discretised | None


class Outcome(NamedTuple):
    """The result of a search or a training.

    Attributes:
        run: run folder.
        module: module after training.
        discretised: the trained model after discretising; None in all processes but the first.
        status: exit status of the command.
    """

    run: Run
    module: TrainingModule
    discretised: Discretised | None
    status: int


def finish(
    module: TrainingModule,
    run: Run,
    console: Console,
    finished: bool,
    selection: Selection | None = None,
    hyperparameters: bool = True,
    healing: Healing = NOT_HEALED,
) -> Finished:
    """Write weights, architecture, metrics and report of a trained module in the first process; the others wait.

    Args:
        module: module after training.
        run: folder to write to.
        console: console that the results are printed on.
        finished: whether nothing is left to train; see `nas.training.fit.fit`.
        selection: architecture that a searcher selected; None if the architecture logits decide.
        hyperparameters: whether TensorBoard's HParams gets the options and the quality of this run.
        healing: result of the healing.
    """
    discretised = None

    def first() -> int:
        nonlocal discretised
        assert isinstance(module.logger, TensorBoardLogger)
        module.logger.experiment.flush()  # its files are read here
        with console.status("Measuring the trained model ..."), module.autocast():
            discretised, metrics, routing = _measured(module, run, finished, selection, healing)
        write_results(run, discretised, metrics, module.config)
        if hyperparameters:
            log_hyperparameters(module.logger, run, metrics)
        finish_loggers(module.trainer.loggers[1:], {FINAL + metrics.quality: quality_of(metrics)}, metrics.step)
        write_run_report(run, metrics, routing, module.task)
        print_results(console, run, metrics)
        if module.diverged_at is not None or healing.diverged_at is not None:
            return 1
        return 0 if finished else INTERRUPTED

    return Finished(from_first(first), discretised)


def _measured(
    module: TrainingModule, run: Run, finished: bool, selection: Selection | None, healing: Healing
) -> Measured:
    """Discretise the supernet, and measure the result and the original beside it."""
    started = time.monotonic()
    task = module.task
    validation = {factor: task.validation_batches(factor) for factor in module.config.data.length_factors}
    searched = discretise(module.placed, task, validation, selection and selection.code)
    discretised, rows = _rows(searched, task, validation, healing)
    original = evaluate_original(module, discretised, validation)
    metrics = measure(
        discretised,
        rows,
        _training_record(module, run, finished),
        module.config,
        task,
        selection and selection.searched,
        started,
        original.row,
        (*_divergence(healing, module.config), *original.notes),
        efforts(run),
    )
    return Measured(discretised, metrics, routing_map(discretised.model, task, discretised.policy, with_readers=True))


def _rows(
    searched: Discretised, task: Task, validation: Validation, healing: Healing
) -> tuple[Discretised, tuple[Row, ...]]:
    """Return the result of a run, and its row followed by those of its controls.

    A healing trains the weights of one architecture. Other architectures therefore remain controls of the architecture
    before it, and other routings are controls of the healed one.

    Args:
        searched: result of the search.
        task: task of the training.
        validation: batches by length factor.
        healing: result of the healing.
    """
    lengths = byte_lengths_of(task)
    if healing.answer is None:
        return searched, (learnt(searched), *controls(searched, validation, task.quality, lengths))
    found = discretise(healing.answer, task, validation)
    healed = replace(searched, model=found.model, evaluations=found.evaluations, calibrated=found.calibrated)
    if searched.supernet.space.choosing:
        others = controls(searched, validation, task.quality, lengths)
    else:
        healed = replace(healed, supernet=searched.supernet._replace(model=found.model))
        others = controls(healed, validation, task.quality, lengths)
    return healed, (learnt(healed, HEALED), *others, learnt(searched))


def _divergence(healing: Healing, config: RunConfig) -> list[str]:
    """Return a note if the healing diverged."""
    if healing.diverged_at is None:
        return []
    assert isinstance(config, SearchConfig)
    return [
        f"The healing diverged by step {healing.diverged_at}: the loss or a weight is not a finite number. The result "
        f"is the model before it. Start a new run with heal.learning_rate below {config.heal.learning_rate:g}."
    ]


def _training_record(module: TrainingModule, run: Run, finished: bool) -> TrainingRecord:
    logged = history(run)
    peak = peak_flops(module.device, module.config.trainer.precision)
    return TrainingRecord(
        finished=finished,
        diverged_at=module.diverged_at,
        step=module.global_step,
        steps=module.config.trainer.steps,
        seconds=module.seconds,
        tokens=module.tokens,
        tokens_per_second=module.tokens_per_second,
        softmax_share=mean_share(logged),
        peak_flops=None if peak is None else peak * module.trainer.world_size,
        logged=logged,
    )
