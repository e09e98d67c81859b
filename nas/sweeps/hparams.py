"""The values and objectives of every trial for the HParams page of TensorBoard."""

import math
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from optuna.trial import FrozenTrial

from nas.runs.folder import TENSORBOARD
from nas.sweeps.objectives import Objective
from nas.sweeps.trial import name_of


def log_trial(folder: Path, number: int, trial: FrozenTrial, objectives: Sequence[Objective]) -> None:
    """Write a trial that has ended, unless it has been written before.

    The metrics are part of the first call, because HParams reads no later ones. A trial without objectives has nan.

    Args:
        folder: run folder of the sweep.
        number: number of the trial, from 0.
        trial: the trial in the study.
        objectives: the objectives of the trial's values, in their order.
    """
    place = folder / TENSORBOARD / name_of(number)
    if any(place.glob("events*")):
        return
    values = trial.values or [math.nan] * len(objectives)
    parameters = {option: str(value) if value is None else value for option, value in trial.params.items()}
    logger = TensorBoardLogger(str(place), name="", version="", default_hp_metric=False)
    metrics = {objective.name: value for objective, value in zip(objectives, values, strict=True)}
    logger.log_hyperparams({**parameters, "state": trial.state.name.lower()}, metrics, step=0)
    logger.finalize("success")
