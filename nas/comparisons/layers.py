"""The layers that searches found: the pattern of each seed, with its cost and quality."""

from statistics import fmean

from nas.comparisons.results import Comparison
from nas.report.units import context, number, size


def found_layers(comparison: Comparison) -> list[dict[str, str]]:
    """Return a row of text for each pattern of layers of each searched contender, the most frequent pattern first.

    Letters stand for mixers, see `nas.search_spaces.placements.LETTERS`; the chunk sizes of routed layers follow "@".
    """
    at, measure, rows = comparison.context, comparison.quality.replace("_", " "), []
    ends = sorted({min(comparison.factors), max(comparison.factors)})
    for contender in comparison.searched:
        for pattern, seeds in contender.patterns.items():
            runs = [run for run in contender.runs if run.seed in seeds]
            row = {"model": contender.name, "layers": pattern, "seeds": ", ".join(map(str, seeds))}
            row["softmax share"] = number(fmean(run.share[ends[0]] for run in runs))
            row[f"cache size at {context(at)}"] = size(fmean(run.kv_bytes[at] for run in runs))
            row |= {f"{measure} at {end}x": number(fmean(run.quality[end] for run in runs)) for end in ends}
            rows.append(row)
    return rows
