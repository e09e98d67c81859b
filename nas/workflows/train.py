"""A training of one architecture from scratch, with the recipe of a search."""

from collections.abc import Sequence
from pathlib import Path

import lightning
from rich.console import Console

from nas.budget.cost import SOFTMAX_SHARE
from nas.config import TrainConfig
from nas.console import say
from nas.data import build_task
from nas.errors import UserError, user_errors
from nas.models.operations import check_operations
from nas.pretrained.start import start_from_pretrained
from nas.pretrained.tokenizer import check_tokenizer
from nas.results.finish import Outcome, finish
from nas.runs.model_files import load_architecture
from nas.runs.opening import opened
from nas.runs.source import keep_source, source_of
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.space import Space
from nas.supernet.dense_start import dense_layers
from nas.training.fit import fit
from nas.training.latencies import keep_latencies
from nas.training.module import TrainingModule


def run_training(config: TrainConfig, console: Console, callbacks: Sequence[lightning.Callback] = ()) -> Outcome:
    """Train one architecture, measure it and write its run folder.

    Args:
        config: options, checked by `nas.cli.checked`.
        console: console for progress and results.
        callbacks: further callbacks of the training, called after its own.
    """
    task = build_task(config.data, config.seed)
    check_tokenizer(task, config.model)
    architecture = _architecture(config, task.vocab_size)
    with user_errors():
        check_operations(architecture.layers, architecture)
    _check_budget(config, architecture)
    module = TrainingModule(Space.of(architecture), task, config, dense_layers=dense_layers(config, architecture))
    with opened("train", config) as run:
        keep_source(run, source_of(task), console)
        say(console, f"Training {config.architecture} on {task.name}, run folder {run.path}")
        keep_latencies(module, run, console)
        start_from_pretrained(module.model, config.model, run, console)
        finished = fit(module, run, console, callbacks)
        status, discretised = finish(module, run, console, finished)
        return Outcome(run, module, discretised, status)


def train(config: TrainConfig, console: Console) -> int:
    """Run the command and return its exit status."""
    return run_training(config, console).status


def _architecture(config: TrainConfig, vocab_size: int) -> Architecture:
    """Return a hand-designed hybrid with the sizes of the config's model, or the architecture of a file."""
    share = config.budget.target if config.budget.resource == SOFTMAX_SHARE else 1.0
    with user_errors():
        by_hand = baselines.build(config.architecture, config.model, vocab_size, share)
    if by_hand:
        return by_hand
    return _of_file(config, vocab_size)


def _of_file(config: TrainConfig, vocab_size: int) -> Architecture:
    """Return the architecture of a file; UserError if the data, or the pretrained model, is another one."""
    path = Path(config.architecture)
    if not path.exists():
        raise UserError(
            f"architecture={config.architecture} is neither a file nor a name; give the architecture.json of a run, or "
            f"one of: {', '.join(baselines.names())}, or the mixer of each layer as in lsll or linear-softmax."
        )
    architecture = load_architecture(path)
    if not architecture.reads(vocab_size):
        raise UserError(
            f"architecture={path} has {architecture.vocab_size} token ids, but data={config.data.name} has "
            f"{vocab_size}; give the data that it was searched on."
        )
    if architecture.backbone != config.model.structure:
        of = "a pretrained model" if architecture.backbone is not None else "no pretrained model"
        raise UserError(
            f"architecture={path} is of {of}, but model.path={config.model.path}; give the model that it was searched "
            "from: model=pretrained model.path=DIR, or another model."
        )
    return architecture


def _check_budget(config: TrainConfig, architecture: Architecture) -> None:
    """Raise a UserError if the budget differs from the softmax share of a given routing."""
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
