"""What is kept of a run: a folder of small files without weights, from which later stages and the tables follow."""

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from nas.budget.cost import kv_bytes
from nas.comparisons.metrics_file import shares_at
from nas.runs.decode import decode
from nas.runs.folder import ARCHITECTURE, CONFIG, METRICS, Run, read_json
from nas.runs.metrics import is_finished, read_metrics
from nas.runs.model_files import load_architecture
from nas.search_spaces.placements import pattern, spelled
from nas.suites.identifiers import ON_NAMES
from nas.suites.result import Result
from nas.suites.run import RESULTS
from nas.suites.text import BITS, CURVE

ANSWER, ROUTED, RANDOM = "layer_hybrid", "token_hybrid", "random_routing"
"""The layers that the search found, routers in its softmax layers, and random routes in these at the same share."""
SUITES, TIMING = "suites.json", "timing.json"


class Measured(NamedTuple):
    """What is measured after a training: folders of `nas.evaluate`, and the file of `experiments.small_lm.timing`."""

    evaluations: list[Path]
    timing: Path


def keep(record: Path, run: Path, measured: Measured | None) -> None:
    """Copy the small files of a finished run into its record, which is there completely or not at all.

    Args:
        record: folder of the record.
        run: run folder.
        measured: measurements of the run; None for a run that is not reported.
    """
    part = record.with_name(f"{record.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in (CONFIG, ARCHITECTURE, METRICS):
        shutil.copyfile(run / name, part / name)
    if measured is not None:
        results = [one for folder in measured.evaluations for one in _results(folder)]
        (part / SUITES).write_text(json.dumps(results) + "\n", encoding="utf-8")
        shutil.copyfile(measured.timing, part / TIMING)
    shutil.rmtree(record, ignore_errors=True)
    part.rename(record)


def is_kept(record: Path) -> bool:
    """Return whether there is a record of a finished run."""
    return is_finished(record)


def merit(record: Path) -> float:
    """Return the merit of a training: minus its mean bits per byte over the lengths of its validation.

    A training that diverged has the worst possible merit.
    """
    found = -fmean(figures.quality for figures in read_metrics(record).learnt.by_factor.values())
    return found if math.isfinite(found) else -math.inf


def softmax_share(record: Path) -> float:
    """Return the softmax share of the routed layers of a run, the largest over the lengths of its validation."""
    own = read_metrics(record).learnt.by_factor.values()
    return max(fmean(share for heads in figures.shares.values() for share in heads) for figures in own)


@dataclass(frozen=True)
class Trained:
    """A reported training.

    Attributes:
        name: name of the contender.
        layers: its layers, see `nas.search_spaces.placements.pattern`.
        seed: seed of the training.
        learning_rate: its peak learning rate.
        parameters: number of parameters.
        bits: bits per byte of held-out text by length in tokens.
        curve: end of a range of positions, and bits per byte in it, at the largest length.
        identifiers: accuracy on renamed identifiers by length.
        ruler: mean score of RULER's tasks by length.
        cache: bytes of keys, values and states after the context of the study.
        share: largest softmax share of its routed layers; None without a router.
        prefill, decode: seconds per token of a prompt and per generated token at this context.
        tokens_per_second, flops_share: speed of the training, and its share of the peak FLOPs; None if not known.
    """

    name: str
    layers: str
    seed: int
    learning_rate: float
    parameters: int
    bits: dict[int, float]
    curve: list[tuple[int, float]]
    identifiers: dict[int, float]
    ruler: dict[int, float]
    cache: int
    share: float | None
    prefill: float
    decode: float
    tokens_per_second: float | None
    flops_share: float | None

    @property
    def mean_bits(self) -> float:
        """The quality by which models are judged: the mean of the bits per byte over lengths."""
        return fmean(self.bits.values())

    @property
    def by_hand(self) -> bool:
        """Whether it is a hybrid by hand, with softmax and linear layers."""
        return spelled(self.name) is not None

    @classmethod
    def read(cls, record: Path, name: str, context: int) -> "Trained":
        """Return the training of a record.

        Args:
            record: folder of the record.
            name: name of the contender.
            context: tokens after which the size of the cache counts.
        """
        metrics, config = read_metrics(record), Run(record).config()
        architecture, timing = load_architecture(record / ARCHITECTURE), _timing(record)
        at_context = shares_at(metrics.learnt, config["data"]["length"], context)
        suites: dict[str, list[Result]] = defaultdict(list)
        for stored in read_json(record / SUITES) or []:
            suites[stored["suite"]].append(Result.from_json(stored))
        text = {one.length: one for one in suites["text"]}
        return cls(
            name=name,
            layers=pattern(architecture.layers),
            seed=config["seed"],
            learning_rate=config["trainer"]["learning_rate"],
            parameters=metrics.cost.parameters,
            bits=_headlines(suites["text"], BITS),
            curve=[(segment.end, segment.score.value) for segment in text[max(text)].curves[CURVE]],
            identifiers=_headlines(suites["identifiers"], ON_NAMES),
            ruler=_headlines(suites["ruler"]),
            cache=kv_bytes(architecture, {layer: fmean(heads) for layer, heads in at_context.items()}, context),
            share=softmax_share(record) if architecture.routed_layers else None,
            prefill=timing["prefill"],
            decode=timing["decode"],
            tokens_per_second=metrics.tokens_per_second,
            flops_share=metrics.flops_share,
        )


def _results(folder: Path) -> list[dict[str, Any]]:
    """Return the results of a folder of `nas.evaluate`, without the outputs of the model."""
    suites: Mapping[str, list[dict[str, Any]]] = (read_json(folder / RESULTS) or {})["suites"]
    return [one | {"examples": []} for own in suites.values() for one in own]


def _timing(record: Path) -> dict[str, float]:
    return decode(dict[str, float], read_json(record / TIMING), TIMING)


def _headlines(results: Sequence[Result], score: str | None = None) -> dict[int, float]:
    """Return a score, the first if none is named, by length; the mean over the parts of a suite."""
    by_length: dict[int, list[float]] = defaultdict(list)
    for one in results:
        by_length[one.length].append(one.scores[score or next(iter(one.scores))].value)
    return {length: fmean(values) for length, values in sorted(by_length.items())}
