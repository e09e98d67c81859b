"""The one recipe of a comparison: that of its runs, with what the user gave on top of it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig

from nas.architecture import Architecture
from nas.config import CompareConfig, flat, restore
from nas.errors import UserError
from nas.run import ARCHITECTURE, METRICS, Run, load_architecture, read_json

GROUPS = ("model", "data", "relaxation", "budget", "trainer")
"""What the recipe takes from the runs."""
OF_THE_MACHINE = ("accelerator", "strategy", "devices", "num_nodes", "precision", "cuda_graphs")
"""Options of the trainer that are this machine's, wherever the runs were made."""
COMMANDS = ("search", "train")
"""Whose runs can be compared."""


class Given(NamedTuple):
    """A run to compare: where it is, its config as plain values, and what it found.

    share: of softmax chunks, averaged over the layers that route, as measured at the training length; None where no
    layer routes.
    """

    path: Path
    config: dict[str, Any]
    architecture: Architecture
    share: float | None

    @property
    def space(self) -> str | None:
        """The space that was searched; None for a model that was trained as given."""
        space = self.config.get("space")
        return space["name"] if space else None


def read_run(folder: str) -> Given:
    """A finished run; UserError where there is none, or a damaged one."""
    run = Run(Path(folder))
    if not run.path.is_dir():
        raise UserError(f"runs has {folder}, which is no folder; give run folders of: nas.{', nas.'.join(COMMANDS)}.")
    described = run.described()
    if described["command"] not in COMMANDS:
        raise UserError(f"runs has {folder}, a run of nas.{described['command']}; give runs of: {', '.join(COMMANDS)}.")
    metrics = read_json(run.path / METRICS)
    if not isinstance(metrics, dict) or not metrics.get("finished"):
        raise UserError(f"runs has {folder}, which is not finished or is damaged; finish it with resume={folder}.")
    architecture = load_architecture(run.path / ARCHITECTURE)
    return Given(run.path, described["config"], architecture, _share(metrics, folder, architecture))


def _share(metrics: dict[str, Any], folder: str, architecture: Architecture) -> float | None:
    try:
        shares = next(iter(metrics["routings"].values()))["1x"]["shares"]
        every = [share for layer in architecture.routed_layers for share in shares[str(layer)]]
    except (KeyError, TypeError, StopIteration, AttributeError) as error:
        raise UserError(f"runs has {folder}, whose {METRICS} is damaged: it tells no shares.") from error
    return sum(every) / len(every) if every else None


def follow(config: CompareConfig, runs: Sequence[Given]) -> None:
    """Take the runs' options into the config, except where the user gave others; UserError where their data differ."""
    _check_same_data(runs)
    words = HydraConfig.get().overrides.task
    if not runs or all(word.startswith("resume=") for word in words):
        return  # nothing to follow, or done when the comparison began
    given = {word.lstrip("+~").split("=")[0] for word in words}
    values = asdict(config)
    first = runs[0].config
    for group in GROUPS:
        if {group, "experiment"} & given or (group == "relaxation" and runs[0].space not in (None, "token_hybrid")):
            continue
        mine = values[group]
        values[group] = dict(first[group])
        for option in flat(mine):
            own = group == "trainer" and option in OF_THE_MACHINE
            if own or f"{group}.{option}" in given:
                values[group][option] = mine[option]
    try:
        followed = restore("compare", values)
    except ValueError as error:
        raise UserError(f"runs has {runs[0].path}, whose config is none of this version: {error}") from error
    for group in GROUPS:
        setattr(config, group, getattr(followed, group))


def _check_same_data(runs: Sequence[Given]) -> None:
    for run in runs[1:]:
        ours, others = flat(runs[0].config["data"]), flat(run.config["data"])
        if different := [key for key in {**ours, **others} if ours.get(key) != others.get(key)]:
            told = ", ".join(f"data.{key}={ours.get(key)} and {others.get(key)}" for key in different)
            raise UserError(
                f"runs {runs[0].path} and {run.path} have different data ({told}); compare runs on the same."
            )
