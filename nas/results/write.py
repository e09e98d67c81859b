"""Write the results of a run: weights, architecture, metrics, TensorBoard's HParams and the report."""

from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from nas.config import RunConfig, flat
from nas.data import Task
from nas.evaluation.routing_map import RoutingMap
from nas.report.page import write_report
from nas.results.report_data import report_of, with_latest_routing
from nas.runs.folder import ARCHITECTURE, METRICS, REPORT, Run
from nas.runs.history import FINAL
from nas.runs.metrics import Metrics
from nas.runs.model_files import write_weights
from nas.supernet.discretised import Discretised


def write_results(run: Run, discretised: Discretised, metrics: Metrics, config: RunConfig) -> None:
    """Write weights, architecture and metrics into the run folder."""
    write_weights(run.path, discretised.model)
    run.write_json(ARCHITECTURE, architecture_file(discretised, metrics, config))
    run.write_json(METRICS, metrics.to_json())


def architecture_file(discretised: Discretised, metrics: Metrics, config: RunConfig) -> dict[str, Any]:
    """Return the content of `architecture.json`: architecture, relaxation, budget, quality and softmax shares."""
    own = metrics.learnt.at_training_length
    return {
        "architecture": discretised.architecture.to_dict(),
        "relaxation": vars(config.relaxation),
        "budget": vars(config.budget),
        "measured": {"quality": {metrics.quality: own.quality}, "share": own.share, "shares": own.shares},
    }


def log_hyperparameters(logger: TensorBoardLogger, run: Run, metrics: Metrics) -> None:
    """Log the options and the final quality for HParams in one call, since HParams reads only the first call."""
    options = {option: str(value) for option, value in flat(run.config()).items()}
    logger.log_hyperparams(options, {FINAL + metrics.quality: quality_of(metrics)}, metrics.step)
    logger.finalize("success")


def quality_of(metrics: Metrics) -> float:
    """Return the final quality at the training length."""
    return metrics.learnt.at_training_length.quality


def write_run_report(run: Run, metrics: Metrics, routing: RoutingMap | None, task: Task) -> None:
    """Write the report of the run, with the curves and snapshots of its folder."""
    report = report_of(run, metrics, task.quality, routing, list(metrics.notes))
    write_report(run.path / REPORT, with_latest_routing(report, task))
