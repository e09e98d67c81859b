"""The recipe of a comparison: the options of its runs, overridden by the options that the user gave."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from nas.cli import overrides
from nas.cli.checks import check_values
from nas.comparisons.metrics_file import layer_shares
from nas.config import CompareConfig, flat, restore
from nas.data.corpus import Source
from nas.errors import UserError, warn
from nas.plugins.record import require
from nas.runs.folder import ARCHITECTURE, METRICS, Run
from nas.runs.metrics import is_finished, read_metrics
from nas.runs.model_files import load_architecture
from nas.runs.options import MACHINE
from nas.runs.source import Changes, changes, read_source
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture

GROUPS = ("model", "data", "relaxation", "budget", "trainer")
"""Option groups that the recipe takes from the runs."""
COMMANDS = ("search", "train")
"""Commands whose runs can be compared."""


class ComparedRun(NamedTuple):
    """A finished run to compare.

    Attributes:
        path: the run folder.
        config: the config as plain values.
        architecture: the final architecture.
        shares: softmax share of each layer, measured at the training length.
        chosen: whether a search chose the layers from a space, so that the budget was for the whole space.
    """

    path: Path
    config: dict[str, Any]
    architecture: Architecture
    shares: list[float]
    chosen: bool

    @property
    def share(self) -> float:
        """Return the softmax share over all layers."""
        return fmean(self.shares)

    @property
    def routed_share(self) -> float:
        """Return the softmax share over the routed layers; 0 if no layer has a router."""
        return fmean([self.shares[layer] for layer in self.architecture.routed_layers] or [0.0])

    @property
    def space(self) -> str | None:
        """Return the name of the searched space; None for a run of `nas.train`."""
        space = self.config.get("space")
        return space["name"] if space else None

    @property
    def by_hand(self) -> bool:
        """Return whether the run trained a hand-designed hybrid."""
        architecture = str(self.config.get("architecture", ""))
        named = architecture in baselines.names() or baselines.mixers_of(architecture) is not None
        return self.space is None and named

    @property
    def name(self) -> str:
        """Return the name of the architecture, which several runs may share."""
        if self.by_hand:
            return str(self.config["architecture"])
        return f"searched_{self.space or self.config['name']}"


def read_run(folder: str, diverged: bool = False) -> ComparedRun:
    """Return the finished run of a folder; UserError if the run is missing, unfinished or damaged.

    Args:
        folder: the run folder.
        diverged: whether the training may have diverged, so that softmax shares are not finite.
    """
    run = Run(Path(folder))
    if not run.path.is_dir():
        raise UserError(
            f"runs has {folder}, which is not a folder; give run folders of: nas.{', nas.'.join(COMMANDS)}."
        )
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
    if not all(map(math.isfinite, measured)) and not diverged:
        raise UserError(f"runs has {folder}, whose training diverged: it has no softmax shares; give another run.")
    return ComparedRun(run.path, described["config"], architecture, measured, bool(metrics.choices))


def follow(config: CompareConfig, runs: Sequence[ComparedRun]) -> None:
    """Replace options of the config by those of the first run, except options that the user gave.

    Args:
        config: options of the comparison; changed in place.
        runs: the finished runs to compare.

    Raises:
        UserError: the runs have different data, or their options are unknown to this version.
    """
    check_same_data(runs)
    if not runs or config.resume is not None:
        return  # without runs there are no options to take; a resumed comparison has taken them at its start
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
        raise UserError(f"runs has {runs[0].path}, whose config this version cannot read: {error}") from error
    check_values(followed)
    for group in GROUPS:
        setattr(config, group, getattr(followed, group))


def check_same_data(runs: Sequence[ComparedRun]) -> None:
    """Raise UserError if two runs have different options of data, or read different files."""
    for run in runs[1:]:
        ours, others = flat(runs[0].config["data"]), flat(run.config["data"])
        if different := [key for key in ours if key in others and ours[key] != others[key]]:
            listed = ", ".join(f"data.{key}={ours[key]} and {others[key]}" for key in different)
            raise UserError(
                f"runs {runs[0].path} and {run.path} have different data ({listed}); compare runs on the same data."
            )
        if found := _changes(runs[0].path, read_source(run.path)):
            raise UserError(
                f"runs {runs[0].path} and {run.path} read different files from one data.path ({found}); compare runs "
                "on the same data."
            )


def warn_of_other_source(runs: Sequence[ComparedRun], source: Source | None) -> None:
    """Warn if the first run read other text than the comparison reads from the same path."""
    if runs and (found := _changes(runs[0].path, source)):
        warn(
            f"the files of data.path have changed since {runs[0].path} was trained ({found}): all models of this "
            "comparison are trained on the files as they are now."
        )


def _changes(folder: Path, source: Source | None) -> Changes | None:
    """Return how a corpus differs from the one of a run; None if it does not, or if it has another path."""
    before = read_source(folder)
    return None if before is None or source is None or before.path != source.path else changes(before, source)
