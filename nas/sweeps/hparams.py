"""The values and objectives of every complete trial for the HParams page of TensorBoard."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from optuna.trial import FrozenTrial

from nas.runs.folder import TENSORBOARD
from nas.runs.history import FINAL
from nas.sweeps.objectives import Objective
from nas.sweeps.queue import Attribute
from nas.sweeps.trial import local

SUFFIX = ".trial"
"""End of the names of event files with the values of a trial."""


def log_trial(folder: Path, trial: FrozenTrial, objectives: Sequence[Objective]) -> None:
    """Write the values and objectives of a trial beside the curves of its search, unless they are there already.

    TensorBoard thus shows a trial as one run. A trial without objectives, which failed or was pruned, would be an empty
    row of HParams; only its curves are shown. The metrics are part of the first call, because HParams reads no later
    ones.

    Args:
        folder: run folder of the sweep.
        trial: a trial in the study that has ended.
        objectives: the objectives of the trial's values, in their order.
    """
    run = trial.user_attrs.get(Attribute.RUN)
    search = None if run is None else local(Path(run), folder)
    if search is None or not trial.values:
        return
    place = Path(search) / TENSORBOARD
    if any(place.glob(f"events*{SUFFIX}")):
        return
    parameters = {option: str(value) if value is None else value for option, value in trial.params.items()}
    logger = TensorBoardLogger(str(place), name="", version="", default_hp_metric=False, filename_suffix=SUFFIX)
    metrics = {FINAL + objective.name: value for objective, value in zip(objectives, trial.values, strict=True)}
    logger.log_hyperparams(parameters, metrics, step=0)
    logger.finalize("success")
