"""The one recipe of a comparison: that of its runs, with what the user gave on top of it."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from nas.cli import overrides
from nas.comparisons.metrics_file import layer_shares
from nas.config import CompareConfig, flat, restore
from nas.errors import UserError
from nas.plugins.record import require
from nas.runs.folder import ARCHITECTURE, METRICS, Run, load_architecture
from nas.runs.metrics import is_finished, read_metrics
from nas.runs.options import MACHINE
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture

GROUPS = ("model", "data", "relaxation", "budget", "trainer")
"""What the recipe takes from the runs."""
COMMANDS = ("search", "train")
"""Whose runs can be compared."""


class Given(NamedTuple):
    """A run to compare: where it is, its config as plain values, and what it found.

    shares: of softmax chunks of each layer, as measured at the training length.
    chosen: whether layers were chosen from a space, so that its budget was that of the whole space.
    """

    path: Path
    config: dict[str, Any]
    architecture: Architecture
    shares: list[float]
    chosen: bool

    @property
    def share(self) -> float:
        """Of softmax chunks, over all layers."""
        return fmean(self.shares)

    @property
    def routed_share(self) -> float:
        """Of softmax chunks, over the layers that route; 0 where none does."""
        return fmean([self.shares[layer] for layer in self.architecture.routed_layers] or [0.0])

    @property
    def space(self) -> str | None:
        """The space that was searched; None for a model that was trained as given."""
        space = self.config.get("space")
        return space["name"] if space else None

    @property
    def by_hand(self) -> bool:
        """Whether it is a training of a hybrid designed by hand."""
        return self.space is None and self.config.get("architecture") in baselines.names()

    @property
    def name(self) -> str:
        """Of what it found, not necessarily its own."""
        if self.by_hand:
            return str(self.config["architecture"])
        return f"searched_{self.space or self.config['name']}"


def read_run(folder: str) -> Given:
    """A finished run; UserError where there is none, or a damaged one."""
    run = Run(Path(folder))
    if not run.path.is_dir():
        raise UserError(f"runs has {folder}, which is no folder; give run folders of: nas.{', nas.'.join(COMMANDS)}.")
    described = run.described()
    if described["command"] not in COMMANDS:
        raise UserError(f"runs has {folder}, a run of nas.{described['command']}; give runs of: {', '.join(COMMANDS)}.")
    require(f"runs=[{folder}]", described)
    if not is_finished(run.path):
        raise UserError(f"runs has {folder}, which is not finished or is damaged; finish it with resume={folder}.")
    architecture = load_architecture(run.path / ARCHITECTURE)
    try:
        metrics = read_metrics(run.path)
        measured = layer_shares(architecture, metrics.learnt.at_training_length.shares)
    except (KeyError, ValueError) as error:
        raise UserError(f"runs has {folder}, whose {METRICS} is damaged: it has no softmax shares.") from error
    if not all(map(math.isfinite, measured)):
        raise UserError(f"runs has {folder}, whose training diverged: it has no softmax shares; give another run.")
    return Given(run.path, described["config"], architecture, measured, bool(metrics.choices))


def follow(config: CompareConfig, runs: Sequence[Given]) -> None:
    """Take the runs' options into the config, except where the user gave others; UserError where their data differ."""
    _check_same_data(runs)
    if not runs or overrides.resume_alone():
        return  # nothing to follow, or done when the comparison began
    given = set(map(overrides.name_of, overrides.given()))
    own = given.union(MACHINE)
    values = asdict(config)
    first = runs[0].config
    for group in GROUPS:
        if {group, "experiment"} & given or (group == "relaxation" and runs[0].chosen):
            continue
        mine = values[group]
        values[group] = dict(first[group])
        for option in flat(mine):
            if f"{group}.{option}" in own:
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
