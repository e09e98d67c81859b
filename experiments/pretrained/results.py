"""The results of the study: read from the small files of its jobs, as a table, as JSON and as a figure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.pretrained.measure import MEASURED
from experiments.pretrained.rule import SEARCHED, TARGET, Result, report
from experiments.pretrained.study import ORIGINAL, Job, Study
from experiments.runs import SECONDS, newest_finished
from nas.files.saving import replacing
from nas.report.style import COLOURS, MUTED, STYLE, plain_style
from nas.report.units import MISSING, markdown
from nas.runs.folder import read_json
from nas.runs.metrics import read_metrics

LETTERS = "Layers: s softmax, l linear, w window, t routed. A spread (±) is half the difference of two seeds."
TABLE, DATA, FIGURE = "table.md", "results.json", "bits_by_cache.png"


def result_of(job: Job, fraction: float) -> Result | None:
    """Return the result of a job; None if it has not ended.

    Args:
        job: the job.
        fraction: fraction of the cache of the original that its budget allows.
    """
    run = newest_finished(job.folder)
    if run is None:
        return None
    metrics = read_metrics(run)
    assert metrics.original is not None
    seconds, measured = read_json(job.folder / SECONDS), read_json(job.folder / MEASURED) or {}
    own, original = metrics.learnt.at_training_length, metrics.original.at_training_length
    return Result(
        model=job.model,
        budget=job.budget,
        contender=job.contender,
        seed=job.seed,
        cache=round(metrics.budget.used),
        allowed=round(metrics.budget.target),
        original_cache=round(metrics.budget.target / fraction),
        bits=own.quality,
        original_bits=original.quality,
        minutes=None if seconds is None else (seconds - metrics.evaluation_seconds) / 60,
        tokens=metrics.training_tokens + sum(stage.tokens for stage in metrics.stages.values()),
        kl=measured.get("kl"),
        needles=measured.get("needles"),
        text=measured.get("bits"),
        prefill_ms=measured.get("prefill_ms"),
        decode_ms=measured.get("decode_ms"),
        found=tuple(choice.found for choice in metrics.choices or ()),
        machine=measured.get("machine"),
    )


def write(study: Study, results: Path) -> str:
    """Write the table, the data and the figure of all finished jobs; return the verdicts."""
    fractions = study.config["fractions"]
    found = [one for job in study.jobs() if (one := result_of(job, fractions[job.budget])) is not None]
    if not found:
        return "Nothing has ended yet.\n"
    teachers = {model: read_json(study.output / model / ORIGINAL / MEASURED) for model in study.models}
    planned = {
        model: [(job.contender, job.seed) for job in study.jobs() if (job.model, job.budget) == (model, TARGET)]
        for model in study.models
    }
    context, verdict = study.config["context"], report(found, planned)
    results.mkdir(parents=True, exist_ok=True)
    machines = sorted({one.machine for one in found if one.machine})
    timed = f"{LETTERS} Timed on: {'; '.join(machines) or MISSING}."
    text = f"{verdict}\n{markdown(_rows(found, teachers, context))}\n{timed}\n"
    (results / TABLE).write_text(text, encoding="utf-8")
    data = {"context": context, "results": [asdict(one) for one in found], "teachers": teachers}
    (results / DATA).write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")
    with replacing(results / FIGURE) as temporary, plain_style(STYLE):
        _figure(found, context).savefig(temporary, format="png")
    return verdict


def _rows(found: Sequence[Result], teachers: dict[str, Any], context: int) -> list[dict[str, str]]:
    """Return the rows of the table: for each model the original, then its contenders by budget."""
    rows, lengths = [], sorted({length for one in found for length in one.needles or {}}, key=int)
    for model in dict.fromkeys(one.model for one in found):
        of_model = [one for one in found if one.model == model]
        own = teachers.get(model) or {}
        bits = fmean(one.original_bits for one in of_model)
        rows.append(
            {"model": model, "budget": "1", "contender": "the original", "seeds": MISSING}
            | {"cache": "1.000", "bits per byte": f"{bits:.4f}", "to the original": MISSING}
            | _measured([own], lengths, context)
            | {"minutes": MISSING, "tokens (M)": MISSING, "layers": MISSING}
        )
        for budget, contender in dict.fromkeys((one.budget, one.contender) for one in of_model):
            rows.append(
                _row([one for one in of_model if (one.budget, one.contender) == (budget, contender)], lengths, context)
            )
    return rows


def _row(own: Sequence[Result], lengths: Sequence[str], context: int) -> dict[str, str]:
    """Return the row of a contender: means over its seeds."""
    first, bits = own[0], [one.bits for one in own]
    excess = fmean(one.bits / one.original_bits - 1 for one in own)
    spread = f" ± {(max(bits) - min(bits)) / 2:.4f}" if len(own) > 1 else ""
    minutes = [one.minutes for one in own if one.minutes is not None]
    return (
        {"model": first.model, "budget": first.budget, "contender": first.contender, "seeds": str(len(own))}
        | {"cache": f"{fmean(one.cache / one.original_cache for one in own):.3f}"}
        | {"bits per byte": f"{fmean(bits):.4f}{spread}", "to the original": f"{100 * excess:+.1f} %"}
        | _measured([asdict(one) for one in own], lengths, context)
        | {"minutes": f"{fmean(minutes):.1f}" if minutes else MISSING}
        | {"tokens (M)": f"{fmean(one.tokens for one in own) / 1e6:.1f}", "layers": _shown(first.found)}
    )


def _measured(own: Sequence[dict[str, Any]], lengths: Sequence[str], context: int) -> dict[str, str]:
    """Return the cells of the figures that `measure` takes, as means of those that are there."""

    def mean(values: Iterable[float | None], digits: int) -> str:
        known = [value for value in values if value is not None]
        return f"{fmean(known):.{digits}f}" if known else MISSING

    needles = {f"needles {int(n):,}": mean(((one.get("needles") or {}).get(n) for one in own), 2) for n in lengths}
    times = {"prefill": "prefill_ms", "decode": "decode_ms"}
    return (
        {"KL": mean((one.get("kl") for one in own), 3)}
        | needles
        | {f"{name} ms": mean((one.get(key) for one in own), 2) for name, key in times.items()}
    )


def _shown(found: Sequence[str]) -> str:
    """Return the operations of all layers by their initials, such as slls, and t for a token hybrid."""
    return "".join(name[0] for name in found) or MISSING


def _figure(found: Sequence[Result], context: int) -> Figure:
    """Draw bits per byte against the kept part of the cache: a panel for each model, a line for each contender."""
    models = list(dict.fromkeys(one.model for one in found))
    drawn = Figure(figsize=(4.2 * len(models), 3.4), layout="constrained")
    for panel, model in zip(drawn.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        own = [one for one in found if one.model == model]
        panel.axhline(fmean(one.original_bits for one in own), color=MUTED, linestyle=":", label="the original")
        for place, contender in enumerate(dict.fromkeys(one.contender for one in own)):
            _line(panel, [one for one in own if one.contender == contender], COLOURS[place % len(COLOURS)])
        panel.set_xscale("log", base=2)
        panel.set_xlabel(f"part of the cache at {context:,} tokens")
        panel.set_ylabel("bits per byte")
        panel.set_title(model, loc="left", fontsize=9)
        panel.legend(fontsize=7)
    return drawn


def _line(panel: Axes, own: Sequence[Result], colour: str) -> None:
    """Draw the means of a contender by budget; contenders that search are drawn bold."""
    by_budget = {one.budget: [other for other in own if other.budget == one.budget] for one in own}
    points = sorted(
        (fmean(one.cache / one.original_cache for one in each), fmean(one.bits for one in each))
        for each in by_budget.values()
    )
    searched = own[0].contender in SEARCHED
    panel.plot(
        *zip(*points, strict=True),
        color=colour,
        label=own[0].contender,
        marker="o",
        markersize=4,
        linewidth=2.0 if searched else 1.0,
        linestyle="-" if searched else "--",
    )
