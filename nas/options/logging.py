"""Options of the loggers of a training."""

from dataclasses import dataclass

from nas.search_spaces.options import option

PROJECT = "nas-hybrid-attention"
"""Default project of Weights & Biases, and default experiment of MLflow."""


@dataclass
class LoggerConfig:
    """Loggers that get the scalars of a training beside TensorBoard's files; see `nas.training.loggers`."""

    csv: bool = option("whether the scalars are also in csv/metrics.csv in the run folder", default=False)
    wandb: bool = option("whether Weights & Biases gets the scalars too", default=False)
    mlflow: bool = option("whether MLflow gets the scalars too", default=False)
    project: str = option("project of Weights & Biases, and experiment of MLflow", default=PROJECT)
    entity: str | None = option("user or team of Weights & Biases; null: its default", default=None)
    offline: bool = option(
        "whether Weights & Biases writes into the run folder alone, for a later wandb sync", default=False
    )
    tracking_uri: str | None = option(
        "server or database of MLflow; null: mlflow/mlflow.db in the run folder", default=None
    )
