"""From the run folders of a comparison's trainings to its results."""

import math
from collections.abc import Mapping
from statistics import fmean

from nas.budget.cost import CONTEXTS, flops_per_token, kv_bytes, training_flops_per_token
from nas.comparisons.contenders import Contender
from nas.comparisons.jobs import Jobs
from nas.comparisons.metrics_file import by_factor, layer_shares, shares, shares_at
from nas.comparisons.results import Comparison, Entrant, Trained
from nas.runs.folder import METRICS, Run, read_json
from nas.runs.history import history

Timings = Mapping[str, Mapping[str, float]]
"""By contender the seconds of a token: "prefill" and "decode"."""


def collect(jobs: Jobs, timings: Timings) -> Comparison:
    """Everything that was measured; all trainings must be done."""
    data = jobs.config.data
    return Comparison(
        task=data.name,
        quality=_quality(jobs),
        length=data.length,
        factors=sorted(data.length_factors),
        entrants=tuple(_entrant(jobs, contender, timings) for contender in jobs.contenders),
    )


def _quality(jobs: Jobs) -> str:
    """How the task measures it, as any training tells."""
    run = jobs.result(jobs.counted(jobs.contenders[0])[0])
    assert run is not None
    measure: str = read_json(run.path / METRICS)["quality"]
    return measure


def _entrant(jobs: Jobs, contender: Contender, timings: Timings) -> Entrant:
    every = [(job, run) for job in jobs.counted(contender) if (run := jobs.result(job))]
    rate = jobs.best_rate(contender)
    assert rate is not None
    return Entrant(
        name=contender.name,
        searched=contender.searched,
        learning_rate=rate,
        tried=jobs.merits(contender) or {},
        architecture=contender.architecture.to_dict(),
        runs=tuple(
            _trained(job.seed, run, contender, jobs.config.data.length, timings.get(contender.name, {}))
            for job, run in every
        ),
    )


def _trained(seed: int, run: Run, contender: Contender, length: int, timing: Mapping[str, float]) -> Trained:
    metrics = read_json(run.path / METRICS)
    own = by_factor(metrics)
    positions = {factor: figures["by_position"] for factor, figures in own.items() if figures.get("by_position")}
    planted, architecture = metrics["retrieving_layer"], contender.architecture

    def mean_shares(context: int) -> dict[int, float]:
        found = {layer: fmean(heads) for layer, heads in shares_at(own, length, context).items()}
        return {layer: share for layer, share in found.items() if math.isfinite(share)}

    return Trained(
        seed=seed,
        quality={factor: _number(figures["quality"]) for factor, figures in own.items()},
        loss={factor: _number(figures["loss"]) for factor, figures in own.items()},
        share={f: fmean(layer_shares(architecture, shares(figures))) for f, figures in own.items()},
        by_position={f: [(end, _number(bits)) for end, bits in of] for f, of in positions.items()} or None,
        planted=planted and {name: _number(planted[name]) for name in ("precision", "recall")},
        kv_bytes={context: kv_bytes(architecture, mean_shares(context), context) for context in CONTEXTS},
        flops_per_token={context: flops_per_token(architecture, mean_shares(context), context) for context in CONTEXTS},
        training_flops=metrics["training_tokens"] * _per_token(run, contender, shares_at(own, length, length), length),
        prefill_seconds=timing.get("prefill"),
        decode_seconds=timing.get("decode"),
        parameters=metrics["cost"]["parameters"],
    )


def _per_token(run: Run, contender: Contender, shares: Mapping[int, list[float]], length: int) -> float:
    """FLOPs of training on a token, at the mean share of softmax chunks that routed layers had while they trained.

    They begin as softmax attention, and come to their final share as the budget tightens. Where the history of the
    training tells no shares, since the budget is on another cost, it is the final ones.
    """
    over_time = [entry["share"] for entry in history(run) if "share" in entry]
    mean = fmean(over_time) if over_time else None
    found = {layer: fmean(heads) for layer, heads in shares.items()}
    return training_flops_per_token(
        contender.architecture, {layer: own if mean is None else mean for layer, own in found.items()}, length
    )


def _number(value: float | None) -> float:
    """JSON has null for what is not finite."""
    return math.nan if value is None else float(value)
