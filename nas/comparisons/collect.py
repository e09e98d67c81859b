"""Collect the results of a comparison from the run folders of its trainings."""

import math
from collections.abc import Mapping
from functools import partial
from statistics import fmean

from nas.budget.cost import (
    CONTEXTS,
    flops_per_token,
    kv_bytes,
    over_lengths,
    search_flops_per_token,
    training_flops_per_token,
)
from nas.comparisons.contenders import Contender
from nas.comparisons.convergence import late_gain
from nas.comparisons.jobs import Job, Jobs
from nas.comparisons.metrics_file import layer_shares, shares_at
from nas.comparisons.results import Comparison, Trained, TrainedContender
from nas.config import CompareConfig
from nas.runs.folder import ARCHITECTURE, Run
from nas.runs.history import history, mean_share
from nas.runs.metrics import Metrics, read_metrics
from nas.runs.model_files import load_architecture
from nas.search_spaces.architecture import Architecture
from nas.supernet.draws import computed_options

Timings = Mapping[str, Mapping[str, float]]
"""Seconds per token by name of the contender: "prefill" for a prompt, "decode" for generation."""


def collect(jobs: Jobs, timings: Timings) -> Comparison:
    """Return the results of a comparison, whose trainings must all be done.

    Args:
        jobs: the trainings of the comparison.
        timings: measured times; a contender may be missing.
    """
    data, metrics = jobs.config.data, _first_metrics(jobs)
    return Comparison(
        task=data.name,
        quality=metrics.quality,
        length=data.length,
        factors=sorted(data.length_factors),
        contenders=tuple(_trained_contender(jobs, contender, timings) for contender in jobs.contenders),
        chance=metrics.chance,
        token_loss=metrics.learnt.at_training_length.loss_by_position is not None,
    )


def _first_metrics(jobs: Jobs) -> Metrics:
    """Return the metrics of one training; the quality measure and chance are the same in all trainings."""
    run = jobs.result(jobs.counted(jobs.contenders[0])[0])
    assert run is not None
    return read_metrics(run.path)


def _trained_contender(jobs: Jobs, contender: Contender, timings: Timings) -> TrainedContender:
    every = [(job, run) for job in jobs.counted(contender) if (run := jobs.result(job))]
    rate = jobs.best_rate(contender)
    assert rate is not None
    return TrainedContender(
        name=contender.name,
        searched=contender.searched,
        learning_rate=rate,
        tried=jobs.merits(contender) or {},
        architecture=_architecture(contender, every[0][1]).to_dict(),
        placements=contender.placements,
        runs=tuple(_trained(jobs, job, run, timings.get(contender.name, {})) for job, run in every),
    )


def _trained(jobs: Jobs, job: Job, run: Run, timing: Mapping[str, float]) -> Trained:
    metrics, contender, length = read_metrics(run.path), job.contender, jobs.config.data.length
    learnt, architecture, retrieving = metrics.learnt, _architecture(contender, run), metrics.retrieving_layer
    own, logged = learnt.by_factor, history(run)
    searches = None if job.search is None else jobs.result(job.search)

    def mean_shares(context: int) -> dict[int, float]:
        means = {layer: fmean(heads) for layer, heads in shares_at(learnt, length, context).items()}
        return {layer: share for layer, share in means.items() if math.isfinite(share)}

    return Trained(
        seed=job.seed,
        quality={factor: figures.quality for factor, figures in own.items()},
        loss={factor: figures.loss for factor, figures in own.items()},
        share={factor: fmean(layer_shares(architecture, figures.shares)) for factor, figures in own.items()},
        by_position={factor: figures.by_position for factor, figures in own.items() if figures.by_position} or None,
        planted=None if retrieving is None else {"precision": retrieving.precision, "recall": retrieving.recall},
        kv_bytes={context: kv_bytes(architecture, mean_shares(context), context) for context in CONTEXTS},
        flops_per_token={context: flops_per_token(architecture, mean_shares(context), context) for context in CONTEXTS},
        training_flops=_training_flops(jobs.config, metrics, logged, architecture, contender, job.searches)
        + (0.0 if searches is None else _search_flops(jobs.config, searches, contender)),
        layers=tuple(architecture.to_dict()["layers"]),
        prefill_seconds=timing.get("prefill"),
        decode_seconds=timing.get("decode"),
        parameters=metrics.cost.parameters,
        margin={factor: figures.margin for factor, figures in own.items() if figures.margin is not None},
        late_gain=late_gain(logged, metrics.quality),
    )


def _architecture(contender: Contender, run: Run) -> Architecture:
    """Return the architecture of a training: the one that it found if it is a search."""
    return contender.architecture if contender.search is None else load_architecture(run.path / ARCHITECTURE)


def _search_flops(config: CompareConfig, run: Run, contender: Contender) -> float:
    """Return the training FLOPs of the search of a contender whose answer was then trained from scratch."""
    return _training_flops(
        config, read_metrics(run.path), history(run), _architecture(contender, run), contender, searches=True
    )


def _training_flops(
    config: CompareConfig,
    metrics: Metrics,
    logged: list[dict[str, float]],
    architecture: Architecture,
    contender: Contender,
    searches: bool,
) -> float:
    """Return the training FLOPs of a run, at the mean softmax share during training; at the final one without it.

    A search whose softmax share is not known counts with a share of 1, an upper bound.

    Args:
        config: options of the comparison.
        metrics: metrics of the finished run.
        logged: logged scalars of the run by step.
        architecture: the trained architecture, or the one that the search found.
        contender: contender of the run.
        searches: whether the run is a search. It trains what it selects alone from ``searcher.select_at`` on.
    """
    if metrics.searched is not None and metrics.searched.training_flops is not None:
        return metrics.searched.training_flops
    length, mean = config.data.length, mean_share(logged)
    found = {layer: fmean(heads) for layer, heads in shares_at(metrics.learnt, length, length).items()}
    shares = {layer: own if mean is None else mean for layer, own in found.items()}

    def each(length: int) -> float:
        alone: float = training_flops_per_token(architecture, shares, length)
        if not searches:
            return alone
        assert contender.search is not None
        relaxation, part = contender.search.relaxation, contender.search.searcher.select_at
        computed = partial(computed_options, relaxation=relaxation.name, pairs=relaxation.pairs)
        supernet = search_flops_per_token(contender.space, computed, 1.0 if mean is None else mean, length)
        return part * supernet + (1 - part) * alone if part < 1 else supernet

    trainer = config.trainer
    return metrics.training_tokens * over_lengths(each, length, 1 - trainer.longer_from, trainer.longer)
