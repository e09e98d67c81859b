"""Loggers beside TensorBoard, which get the same scalars: a CSV table, Weights & Biases and MLflow.

TensorBoard's files are always in the run folder, since the curves of its page are read from them.
"""

import csv
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger

from nas.config import flat
from nas.errors import UserError
from nas.files.saving import subfolder
from nas.options.logging import LoggerConfig
from nas.runs.folder import Run, read_json

CSV, MLFLOW = "csv", "mlflow"
"""Folders in the run folder."""
IDS = "loggers.json"
"""File in the run folder with the names under which services know the run, so that a resumed run continues there."""
PACKAGES = {"wandb": ("wandb",), "mlflow": ("mlflow", "mlflow-skinny")}
"""Packages of which a logger needs one."""


def check_loggers(config: LoggerConfig) -> None:
    """Raise a UserError if the package of a logger is not installed."""
    for name, packages in PACKAGES.items():
        if getattr(config, name) and not any(map(_is_installed, packages)):
            raise UserError(
                f"logger={name} needs the package {name}: pip install 'nas-hybrid-attention[{name}]'; or give "
                "logger=tensorboard."
            )


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def loggers(config: LoggerConfig, run: Run, first_step: int) -> list[Logger]:
    """Return the loggers of a training beside TensorBoard, with the options of the run.

    Args:
        config: which loggers, and their options.
        run: run folder.
        first_step: number of steps of the checkpoint from which the training goes on.

    Raises:
        UserError: a logger cannot start, for example without a login or a connection.
    """
    ids: dict[str, str] = read_json(run.path / IDS) or {}
    made: list[Logger] = [_table(run, first_step)] if config.csv else []
    if config.wandb:
        made.append(_started("wandb", lambda: _wandb(config, run, ids.setdefault("wandb", uuid4().hex[:8]))))
    if config.mlflow:
        made.append(_started("mlflow", lambda: _mlflow(config, run, ids)))
    if ids:
        run.write_json(IDS, ids)
    return made


def _started(name: str, start: Callable[[], Logger]) -> Logger:
    try:
        return start()
    except Exception as error:  # each service fails in ways of its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        other = "logger.offline=true" if name == "wandb" else "another logger.tracking_uri"
        raise UserError(f"logger={name} cannot start: {reason} Give {other}, or omit {name} from logger.") from error


def _table(run: Run, first_step: int) -> Logger:
    """Return a logger of a table that has the rows of earlier parts of the training, up to its checkpoint."""
    path = subfolder(run.path, CSV) / "metrics.csv"
    rows: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= first_step]
    logger = CSVLogger(str(run.path), name="", version=CSV)
    with warnings.catch_warnings(action="ignore"):  # it deletes the table of before
        logger.log_hyperparams(_options(run))
    for row in rows:
        logger.log_metrics({name: float(row[name]) for name in row if row[name] and name != "step"}, int(row["step"]))
    logger.save()
    return logger


def _wandb(config: LoggerConfig, run: Run, known: str) -> Logger:
    import wandb

    logger = WandbLogger(
        name=run.path.name,
        save_dir=str(run.path),
        id=known,
        project=config.project,
        entity=config.entity,
        mode="offline" if config.offline else "online",
        settings=wandb.Settings(console="off", quiet=True),
    )
    logger.log_hyperparams(_options(run))
    return logger


def _mlflow(config: LoggerConfig, run: Run, ids: dict[str, str]) -> Logger:
    """Return a logger of the run of MLflow that ``ids`` names, or of a new one if there is none at the place."""
    place = config.tracking_uri or f"sqlite:///{subfolder(run.path, MLFLOW).resolve() / 'mlflow.db'}"
    if (known := ids.get("mlflow")) is not None:
        logger = MLFlowLogger(config.project, run.path.name, tracking_uri=place, run_id=known)
        if _is_there(logger):
            return logger
    logger = MLFlowLogger(config.project, run.path.name, tracking_uri=place)
    logger.log_hyperparams(_options(run))  # once, since parameters of a run cannot change
    assert logger.run_id is not None
    ids["mlflow"] = logger.run_id
    return logger


def _is_there(logger: MLFlowLogger) -> bool:
    """Return whether the place of a logger has its run: it may be another place than when the run was started."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(logger.experiment)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _options(run: Run) -> dict[str, Any]:
    return {option: str(value) for option, value in flat(run.config()).items()}


@contextmanager
def closed_on_error(added: Sequence[Logger]) -> Iterator[None]:
    """Close the loggers if the block raises an error."""
    try:
        yield
    except BaseException:
        close(added, "failed")
        raise


def finish(added: Sequence[Logger], figures: Mapping[str, float], step: int) -> None:
    """Log the final figures of a run and close the loggers."""
    for logger in added:
        logger.log_metrics(dict(figures), step)
    close(added, "success")


def close(added: Sequence[Logger], status: str) -> None:
    """Close the loggers, so that the next run of this process does not continue this one."""
    for logger in added:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=0 if status == "success" else 1)
