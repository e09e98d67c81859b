"""A search: train a supernet, select an architecture, measure it and write the report."""

from collections.abc import Sequence
from typing import cast, get_args

import lightning
from rich.console import Console

from nas.cli.checks import check_choice
from nas.config import HalvingConfig, RuleConfig, SearchConfig
from nas.console import say
from nas.data import build_task
from nas.distributed.launch import launched
from nas.errors import INTERRUPTED, user_errors, warn
from nas.kernels.arguments import RouteGrad
from nas.models.operations import check_operations
from nas.models.router import FeatureGrad
from nas.pretrained.start import start_from_pretrained
from nas.pretrained.stock import build_space
from nas.pretrained.tokenizer import check_tokenizer
from nas.results.finish import Outcome, finish
from nas.runs.folder import Run
from nas.runs.opening import opened
from nas.runs.source import keep_source, source_of
from nas.search_spaces.space import Space
from nas.searchers import check_searcher
from nas.searchers.halving.halve import halve
from nas.searchers.rule import place
from nas.searchers.select import SelectInTime, select
from nas.supernet.placement import placement_of
from nas.training.alignment.stage import align
from nas.training.fit import fit
from nas.training.healing.options import check_healing_batches
from nas.training.healing.stage import heal
from nas.training.latencies import keep_latencies
from nas.training.module import TrainingModule


def run_search(
    config: SearchConfig,
    console: Console,
    callbacks: Sequence[lightning.Callback] = (),
    hyperparameters: bool = True,
) -> Outcome:
    """Train a supernet, select an architecture, measure it and write its run folder.

    Args:
        config: options, checked by `nas.cli.checked`.
        console: console for progress and results.
        callbacks: further callbacks of the training, called after the search's own.
        hyperparameters: see `nas.results.finish.finish`.
    """
    task = build_task(config.data, config.seed)
    check_tokenizer(task, config.model)
    space = space_of(config, task.vocab_size)
    placement = placement_of(config, space)
    module = TrainingModule(space, task, config, cast(RouteGrad, config.space.route_grad), placement=placement)
    check_healing_batches(config, task)
    with opened("search", config) as run:
        keep_source(run, source_of(task), console)
        say(console, f"Searching {config.space.name} on {task.name}, run folder {run.path}")
        keep_latencies(module, run, console)
        start_from_pretrained(module.model, config.model, run, console)
        if not align(module.model, task, config, run, console):
            return _stopped(run, module, console)
        selection = None
        if isinstance(config.searcher, RuleConfig):
            module = module.alone(place(module, run, console))
            finished = fit(module, run, console, callbacks)
        elif isinstance(config.searcher, HalvingConfig):
            halved = halve(module, run, console, callbacks)
            if halved is None:
                return _stopped(run, module, console)
            module, finished, selection = halved
        else:
            finished = fit(module, run, console, [SelectInTime(run, console), *callbacks])
            selects = finished and module.diverged_at is None and launched().first
            selection = select(module, run, console) if selects else None
        healing = heal(module, selection and selection.code, finished, run, console)
        if not healing.ended:
            return _stopped(run, module, console)
        status, discretised = finish(module, run, console, finished, selection, hyperparameters, healing)
        return Outcome(run, module, discretised, status)


def _stopped(run: Run, module: TrainingModule, console: Console) -> Outcome:
    """Return the outcome of a search that the user has stopped before it had a result."""
    say(console, f"Continue with: resume={run.path}")
    return Outcome(run, module, None, INTERRUPTED)


def space_of(config: SearchConfig, vocab_size: int) -> Space:
    """Return the space of a search; UserError if its options, or those of its searcher, cannot work."""
    check_choice("space.route_grad", config.space.route_grad, get_args(RouteGrad))
    check_choice("space.feature_grad", config.space.feature_grad, get_args(FeatureGrad))
    with user_errors():
        space = build_space(config.space, config.model, vocab_size)
        check_operations((layer for options in space.options for layer in options), space.sizes)
    check_searcher(config, space)
    _warn_of_long_chunks(space, config.data.length)
    return space


def _warn_of_long_chunks(space: Space, length: int) -> None:
    """Warn of chunks that are as long as the training sequences, so that a router decides nothing."""
    chunks = sorted({o.chunk_size for own in space.options for o in own if o.routed})
    if space.choosing and (long := [chunk for chunk in chunks if chunk >= length]):
        warn(
            f"space.chunk_sizes has {', '.join(map(str, long))}, but data.length={length}: in training such a chunk is "
            "the whole sequence, so its router decides nothing and its quality on longer sequences is unknown."
        )


def search(config: SearchConfig, console: Console) -> int:
    """Run the command and return its exit status."""
    return run_search(config, console).status
