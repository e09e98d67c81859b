"""The table, the figure and the JSON of the study at one size."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.runs import machine
from experiments.small_lm.records import Trained
from experiments.small_lm.rule import mean_bits, verdict
from nas.files.saving import replacing
from nas.report.style import COLOURS, STYLE, mark_training_length, plain_style
from nas.report.units import MISSING, context, count, duration, markdown, number, size

DASHES = ("-", "--", ":", "-.")


def write(folder: Path, of_size: str, trained: Sequence[Trained], left: int, notes: Sequence[str], length: int) -> str:
    """Write SIZE.md, SIZE.json and SIZE_bits_by_position.png, and return the Markdown.

    Args:
        folder: folder of the results.
        of_size: name of the size.
        trained: reported trainings that are done.
        left: number of reported trainings that are not.
        notes: further sentences.
        length: training length in tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {name: list(own) for name, own in groupby(trained, key=lambda one: one.name)}
    parts = [f"# {of_size}\n", verdict(trained, left), "".join(f"- {note}\n" for note in notes)]
    if by_name:
        parts.insert(2, markdown([_row(name, own) for name, own in by_name.items()]))
        with replacing(folder / f"{of_size}_bits_by_position.png") as temporary, plain_style(STYLE):
            figure(by_name, length).savefig(temporary, format="png")
        parts.append(f"![Bits per byte by position]({of_size}_bits_by_position.png)\n")
    text = "\n".join([*filter(None, parts), f"{machine()}.\n"])
    (folder / f"{of_size}.md").write_text(text, encoding="utf-8")
    values = json.dumps([asdict(one) for one in trained], separators=(",", ":"))
    (folder / f"{of_size}.json").write_text(values + "\n", encoding="utf-8")
    return text


def _row(name: str, own: Sequence[Trained]) -> dict[str, str]:
    """Return the row of a contender; figures are means over seeds."""
    first = own[0]
    row = {"model": name, "layers": first.layers, "parameters": count(fmean(one.parameters for one in own))}
    row["learning rate"] = f"{first.learning_rate:g}"
    for length in first.bits:
        row[f"bits per byte at {context(length)}"] = _bits(fmean(one.bits[length] for one in own))
    row["mean"] = _bits(mean_bits(own))
    row["mean by seed"] = " ".join(_bits(one.mean_bits) for one in own)
    row["identifiers"] = _score([one.identifiers for one in own])
    row["RULER"] = _score([one.ruler for one in own])
    row["cache"] = size(fmean(one.cache for one in own))
    row["share"] = number(None if first.share is None else fmean(one.share or 0.0 for one in own))
    row["prefill a token"] = duration(fmean(one.prefill for one in own))
    row["decode a token"] = duration(fmean(one.decode for one in own))
    speeds = [one.tokens_per_second for one in own if one.tokens_per_second is not None]
    row["training tokens a second"] = count(fmean(speeds)) if speeds else MISSING
    peaks = [one.flops_share for one in own if one.flops_share is not None]
    row["share of peak"] = f"{100 * fmean(peaks):.0f} %" if peaks else MISSING
    return row


def _score(by_length: Sequence[Mapping[int, float]]) -> str:
    """Return the mean of a score over lengths and seeds; a dash if the suite could not be computed."""
    values = [value for own in by_length for value in own.values()]
    return number(fmean(values) if values else None)


def _bits(value: float) -> str:
    return f"{value:.4f}"


def figure(by_name: Mapping[str, Sequence[Trained]], length: int) -> Figure:
    """Return the figure of bits per byte by position at the largest length, a curve for each contender.

    Args:
        by_name: reported trainings by contender.
        length: training length in tokens, which the figure marks.
    """
    drawn = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = drawn.subplots()
    for place, (name, own) in enumerate(by_name.items()):
        ends = [end for end, _ in own[0].curve]
        bits = [fmean(values) for values in zip(*([value for _, value in one.curve] for one in own), strict=True)]
        dashes = DASHES[place // len(COLOURS) % len(DASHES)]
        axes.plot(ends, bits, label=name, color=COLOURS[place % len(COLOURS)], linestyle=dashes)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda tokens, _: context(round(tokens)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("position in the sequence, in tokens")
    axes.set_ylabel("bits per byte (lower is better)")
    mark_training_length(axes, length)
    drawn.legend(loc="outside right upper", fontsize=9)
    return drawn
