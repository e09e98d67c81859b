"""One run on the index page: its status, what was found, its figures, options and curves, from its folder."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import Repr
from statistics import fmean
from typing import Any, TypeVar

import yaml

from nas.budget.cost import LONG
from nas.comparisons.results import RESULTS, Comparison
from nas.index.folders import MOST_BYTES, own, read
from nas.report.charts import digits, thinned
from nas.report.units import repeated
from nas.runs.folder import ARCHITECTURE, CONFIG, METRICS, REPORT, TENSORBOARD, Run, from_yaml
from nas.runs.history import history
from nas.runs.metrics import Metrics
from nas.runs.options import FOLDER
from nas.runs.titles import title
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.space import option_name
from nas.sweeps import ranking

FINISHED, STOPPED, FAILED, DAMAGED = "finished", "stopped", "failed", "damaged"
NOT_SHOWN = {*FOLDER, "sweep.search", "sweep.storage"}
"""Options that are no part of the differences: places, and an address that may contain a password."""
MOST_OPTIONS = 5000
POINTS = 60
"""Largest number of points of a curve."""
SHORT = Repr()
SHORT.maxlevel, SHORT.maxlist, SHORT.maxdict, SHORT.maxstring, SHORT.maxother = 3, 20, 20, 200, 200

Value = TypeVar("Value")
Curve = tuple[list[float], list[float]]
"""Steps and values."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run.

    Attributes:
        command: command that made the run, without "nas."; empty if it is not known.
        status: finished, stopped, failed or damaged; whether a stopped run is running is not part of its files.
        title: what was searched, trained or compared, and on what data; empty if it is not known.
        reason: why it is stopped, failed or damaged.
        created: date and time of the start, as text that sorts by time.
        seed: seed, as text.
        data: task, with its path and length.
        found: architecture or best trial or best model.
        measure: name of the figure of merit, in words.
        quality: figure of merit at the training length; nan if it is not known, like the figures below.
        share: softmax share, in [0, 1].
        cache: cache size at `LONG` tokens, in bytes.
        best: name of the folder of a sweep's best trial.
        report: whether the folder has a page.
        options: text of each option.
        curves: curves by name.
    """

    command: str = ""
    status: str
    title: str = ""
    reason: str = ""
    created: str = ""
    seed: str = ""
    data: str = ""
    found: str = ""
    measure: str = ""
    quality: float = math.nan
    share: float = math.nan
    cache: float = math.nan
    best: str = ""
    report: bool = False
    options: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)


def entry(folder: Path) -> Entry:
    """Return the entry of a run folder; one with the status damaged and the reason if the folder cannot be read."""
    known: dict[str, Any] = {}
    try:
        known["report"] = own(folder / REPORT)
        described = _described(folder)
        known |= described
        values = {"search": _trained, "train": _trained, "sweep": _swept, "compare": _compared}
        known |= values[described["command"]](folder, described["options"])
        return Entry(**known)
    except Exception as error:  # a damaged file can fail in as many ways as there are formats inside it
        text = f"{error}" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
        return Entry(**known | {"status": DAMAGED, "reason": " ".join(text.split())[:300]})


def _described(folder: Path) -> dict[str, Any]:
    """Return the parts of an entry that `config.yaml` has."""
    try:
        given = from_yaml(read(folder / CONFIG))
    except yaml.YAMLError as error:
        raise ValueError(f"{CONFIG} is not YAML") from error
    if not isinstance(given, dict) or not isinstance(config := given.get("config"), dict):
        raise ValueError(f"{CONFIG} has no config")
    if given.get("command") not in ("search", "train", "sweep", "compare"):
        raise ValueError(f"{CONFIG} is of no command: {SHORT.repr(given.get('command'))}")
    options = {name: value for name, value in _options(config) if name not in NOT_SHOWN}
    data = [options.get(f"data.{name}", "") for name in ("name", "path")]
    length = [f"{options['data.length']} tokens"] if "data.length" in options else []
    return {
        "command": given["command"],
        "title": title(given),
        "created": _shown(given.get("created", "")),
        "seed": options.get("seed", ""),
        "data": ", ".join([part for part in data if part not in ("", "None")] + length),
        "options": options,
    }


def _options(config: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of each option; ValueError if there are too many, as aliases can make."""
    left: list[tuple[str, Any]] = [("", config)]
    for _ in range(MOST_OPTIONS):
        if not left:
            return
        name, value = left.pop()
        if isinstance(value, dict):
            dot = f"{name}." if name else ""
            left += [(f"{dot}{_shown(key)}"[:200], inner) for key, inner in reversed(value.items())]
        else:
            yield name, _shown(value)
    raise ValueError(f"{CONFIG} has more than {MOST_OPTIONS} options")


def _shown(value: Any) -> str:
    """Return a value as short text."""
    return value[:200] if isinstance(value, str) else SHORT.repr(value)


def _json(folder: Path, name: str, of: Callable[[Any], Value]) -> Value:
    """Return a function of the content of a JSON file of a folder; ValueError if the file is missing or damaged."""
    content = read(folder / name)
    try:
        return of(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration, RecursionError) as error:
        raise ValueError(f"{name} is damaged ({type(error).__name__}: {error})") from error


def _trained(folder: Path, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of the entry of a search or a training."""
    scalars, steps = _history(folder), options.get("trainer.steps", "")
    last = f"step {scalars[-1]['step']:,.0f} of {steps}" if scalars else f"step 0 of {steps}"
    if not (folder / METRICS).exists():
        return {"status": STOPPED, "reason": last, "curves": _curves(scalars)}
    metrics = _json(folder, METRICS, Metrics.from_json)
    figures = metrics.learnt.at_training_length
    diverged = not math.isfinite(figures.quality) or not math.isfinite(figures.loss)
    stopped = f"step {metrics.step:,} of {steps}"
    return {
        "status": FAILED if diverged else FINISHED if metrics.finished else STOPPED,
        "reason": "training diverged" if diverged else "" if metrics.finished else stopped,
        "found": _layers(folder),
        "measure": metrics.quality.replace("_", " "),
        "quality": figures.quality,
        "share": figures.share,
        "cache": float(metrics.cost.kv_bytes.get(LONG, math.nan)),
        "curves": _curves(scalars),
    }


def _layers(folder: Path) -> str:
    """Return the options of the layers of `architecture.json`, equal ones in a row as one: "2 x linear, softmax"."""
    architecture = _json(folder, ARCHITECTURE, lambda given: Architecture.from_dict(given["architecture"]))
    return repeated(map(option_name, architecture.layers))


def _swept(folder: Path, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of the entry of a sweep."""
    if not (folder / METRICS).exists():
        return {"status": STOPPED, "reason": f"no trial of {options.get('sweep.trials')} in the results yet"}
    return _json(folder, METRICS, _of_trials)


def _of_trials(given: Any) -> dict[str, Any]:
    """Return the parts of the entry of a sweep that its `metrics.json` has."""
    done, count = int(given["finished"]), int(given["trials_asked_for"])
    parts = {
        "status": FINISHED if done >= count else STOPPED,
        "reason": "" if done >= count else f"{done} of {count} trials",
    }
    if not given["best"]:
        return parts | ({"status": FAILED, "reason": "no trial is complete"} if done >= count else {})
    best, first = given["best"][0], next(iter(given["objectives"]))
    return parts | {
        "found": f"trial {int(best['trial'])}: {_chosen(best['values'])}"[:500],
        "measure": ranking.title(first, str(given["quality"])),
        "quality": float(best["objectives"][first]),
        "best": Path(str(best["run"])).name,
    }


def _chosen(values: Mapping[str, Any]) -> str:
    """Return the options of a trial as text."""
    return ranking.chosen({_shown(name): value for name, value in values.items()})


def _compared(folder: Path, _: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of the entry of a comparison: the figures of the best model at the training length."""
    if not (folder / RESULTS).exists():
        return {"status": STOPPED, "reason": "no results yet"}
    comparison = _json(folder, RESULTS, Comparison.from_dict)
    factor, sign = comparison.factors[0], 1 if comparison.higher else -1
    qualities = {one.name: fmean(run.quality[factor] for run in one.runs) for one in comparison.contenders}
    best = max(comparison.contenders, key=lambda one: (math.isfinite(qualities[one.name]), sign * qualities[one.name]))
    return {
        "status": FINISHED,
        "found": f"{best.name}, best of {len(comparison.contenders)} models with {len(best.runs)} seeds",
        "measure": comparison.quality.replace("_", " "),
        "quality": qualities[best.name],
        "share": fmean(run.share[factor] for run in best.runs),
        "cache": fmean(run.kv_bytes.get(LONG, math.nan) for run in best.runs),
    }


def _history(folder: Path) -> list[dict[str, float]]:
    """Return the logged scalars; ValueError if an event file is a link or too large."""
    place = folder / TENSORBOARD
    if not place.is_dir():
        return []
    files = list(place.glob("*tfevents*"))
    if place.is_symlink() or not all(map(own, files)):
        raise ValueError(f"{TENSORBOARD} has a link in place of a file")
    if sum(file.stat().st_size for file in files) > MOST_BYTES:
        return []
    return history(Run(folder))


def _curves(scalars: list[dict[str, float]]) -> dict[str, Curve]:
    """Return the loss, the validated quality, and the share or cost, with few points."""
    wanted = {name for row in scalars for name in row if name in ("loss", "share", "cost")}
    wanted |= {name for row in scalars for name in row if name.startswith("validation_") and "planted" not in name}
    curves = {}
    for name in sorted(wanted):
        points = thinned([(row["step"], row[name]) for row in scalars if name in row], POINTS)
        curves[name.replace("_", " ")] = ([step for step, _ in points], [digits(value) for _, value in points])
    return curves
