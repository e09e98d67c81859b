"""Titles of runs: what was searched, trained or compared, and on what data."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nas.errors import UserError
from nas.runs.folder import ARCHITECTURE, Run

STAMP = re.compile(r"^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_")
"""Date and time at the start of the name of a run folder."""
LONGEST = 200
"""Largest length of a title in characters."""
LISTED = 2
"""Largest number of options in the title of a sweep; of more options the title has the number."""
RANGE = {"low", "high", "choices"}
"""Keys of which the range of an option has at least one."""


class Heading(NamedTuple):
    """The heading of a page.

    Attributes:
        title: title of the page.
        folder: name of the run folder.
        started: date and time of the start; empty if they are not known.
        length: length of a training sequence, in tokens; None if it is not known.
    """

    title: str
    folder: str
    started: str = ""
    length: int | None = None

    @property
    def origin(self) -> str:
        """The small line below the title."""
        return f"Folder {self.folder}" + (self.started and f", started {self.started}")


def heading(folder: Path) -> Heading:
    """Return the heading of a run folder; the title is the folder's name if its config is missing or damaged."""
    name = folder.resolve().name
    try:
        described = Run(folder).described()
    except UserError:
        return Heading(name, name)
    data = described["config"].get("data")
    length = data.get("length") if isinstance(data, Mapping) else None
    started = _time(described.get("created"))
    return Heading(title(described) or name, name, started, length if isinstance(length, int) else None)


def title(described: Mapping[str, Any]) -> str:
    """Return the title of a run from the content of its `config.yaml`; empty if the content is damaged."""
    try:
        config = described["config"]
        return TITLES[described["command"]](config, str(config["data"]["name"]))[:LONGEST]
    except (LookupError, TypeError, AttributeError):
        return ""


def title_of_comparison(task: str, models: int, seeds: int) -> str:
    """Return the title of a comparison."""
    return f"Comparison on {task}: {models} model{'s' * (models != 1)}, {seeds} seed{'s' * (seeds != 1)}"


def _time(created: Any) -> str:
    """Return the time of the start as text: "2026-11-28_12-00-00" is "2026-11-28 12:00:00"."""
    date, _, time = str(created or "").partition("_")
    return f"{date} {time.replace('-', ':')}".strip()


def _of_search(config: Mapping[str, Any], data: str) -> str:
    return f"{config['space']['name']} on {data}"


def _of_training(config: Mapping[str, Any], data: str) -> str:
    path = Path(str(config["architecture"]))
    name = path.parent.name if path.name == ARCHITECTURE else path.name.removesuffix(".json")
    return f"Training of {STAMP.sub('', name) or path} on {data}"


def _of_sweep(config: Mapping[str, Any], data: str) -> str:
    options = sorted(_varied(config["sweep"]["ranges"]))
    varied = " and ".join(options) if len(options) <= LISTED else f"{len(options)} options"
    return f"Sweep of {varied} on {data}"


def _varied(ranges: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of each option with a range."""
    for key, value in ranges.items():
        if isinstance(value, Mapping) and not RANGE & value.keys():
            yield from _varied(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}"


def _of_comparison(config: Mapping[str, Any], data: str) -> str:
    return title_of_comparison(data, len(config["runs"]) + len(config["baselines"]), int(config["seeds"]))


TITLES: dict[str, Callable[[Mapping[str, Any], str], str]] = {
    "search": _of_search,
    "train": _of_training,
    "sweep": _of_sweep,
    "compare": _of_comparison,
}
"""Functions from the options and the name of the data to the title, by command."""
