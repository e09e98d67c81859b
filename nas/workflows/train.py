"""A training: one architecture from scratch, with the recipe of a search."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import lightning
from rich.console import Console

from nas.budget.cost import SOFTMAX_SHARE
from nas.config import TrainConfig
from nas.console import say
from nas.data import build_task
from nas.errors import UserError, user_errors
from nas.models.operations import check_operations
from nas.results.finish import close
from nas.runs.folder import Run, load_architecture, start
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.space import Space
from nas.training.fit import fit
from nas.training.module import TrainingModule


class Outcome(NamedTuple):
    """What a training left behind, its trained module, and the exit status of a command that is this training alone."""

    run: Run
    module: TrainingModule
    status: int


def run_training(config: TrainConfig, console: Console, callbacks: Sequence[lightning.Callback] = ()) -> Outcome:
    """One training of one architecture, and its run folder.

    Args:
        config: checked, as `nas.cli.command` does.
        console: where its progress and its answer are shown.
        callbacks: what else is to happen beside the training steps, after all that a training does itself.
    """
    task = build_task(config.data, config.seed)
    architecture = _architecture(config, task.vocab_size)
    with user_errors():
        check_operations(architecture.layers)
    _check_budget(config, architecture)
    module = TrainingModule(Space.of(architecture), task, config)
    run = start("train", config)
    say(console, f"Training {config.architecture} on {task.name}, run folder {run.path}")
    finished = fit(module, run, console, callbacks)
    return Outcome(run, module, close(module, run, console, finished))


def train(config: TrainConfig, console: Console) -> int:
    """The job of the command. Returns the exit status."""
    return run_training(config, console).status


def _architecture(config: TrainConfig, vocab_size: int) -> Architecture:
    """A hand-designed hybrid in the sizes of the config's model, or the architecture of a file."""
    share = config.budget.target if config.budget.resource == SOFTMAX_SHARE else 1.0
    with user_errors():
        by_hand = baselines.build(config.architecture, config.model, vocab_size, share)
    if by_hand:
        return by_hand
    path = Path(config.architecture)
    if not path.exists():
        raise UserError(
            f"architecture={config.architecture} is neither a file nor a name; give the architecture.json of a run, or "
            f"one of: {', '.join(baselines.names())}, or the mixer of each layer as in linear-softmax."
        )

    architecture = load_architecture(path)
    if architecture.vocab_size != vocab_size:
        raise UserError(
            f"architecture={path} is for {architecture.vocab_size} tokens, but data={config.data.name} has "
            f"{vocab_size}; give the data it was searched on."
        )
    return architecture


def _check_budget(config: TrainConfig, architecture: Architecture) -> None:
    """A routing that is given spends its share and nothing else; UserError where the budget says otherwise."""
    share, budget = architecture.given_share, config.budget
    if share is None:
        return
    if budget.resource != SOFTMAX_SHARE:
        raise UserError(
            f"architecture={config.architecture} sends a given share of the chunks to softmax, but "
            f"budget={budget.resource}; give budget={SOFTMAX_SHARE}."
        )
    if budget.target != share:
        raise UserError(
            f"architecture={config.architecture} sends {share:g} of the chunks to softmax, but "
            f"budget.target={budget.target:g}; give budget.target={share:g}."
        )
