"""`index.html`: a table of all runs below a folder, whose curves and options can be set side by side."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.budget.cost import LONG
from nas.console import Bars
from nas.errors import UserError
from nas.files.lock import in_use
from nas.files.saving import replacing
from nas.index.entry import DAMAGED, FINISHED, STOPPED, Entry, entry
from nas.index.folders import fingerprint, read, run_folders
from nas.report.embed import Charts, environment, link, write_page
from nas.report.units import MISSING, context, number, size
from nas.runs.decode import decode
from nas.runs.folder import REPORT, plain

INDEX = "index.html"
FORMAT = 2
"""Version of the stored extracts."""
RUNNING = "running"
KINDS = {"search": "search", "train": "training", "sweep": "sweep", "compare": "comparison"}

Entries = dict[str, Entry]
"""The entries by the path of their folder below the folder of the index."""


@dataclass(frozen=True)
class Shown:
    """A row of the table.

    Attributes:
        folder: path of the run folder below the folder of the index.
        title: title of the page of the run; the name of its folder if it has none.
        name: title, with the name of the folder if another run has the same title.
        within: path of the sweep or the comparison that the run is a part of; empty for none.
        link: link to the page of the run; empty for none.
        kind: search, training, sweep or comparison.
        entry: what the row shows.
    """

    folder: str
    title: str
    name: str
    within: str
    link: str
    kind: str
    entry: Entry

    @property
    def figures(self) -> list[tuple[str, float | None]]:
        """Text and value of quality, softmax share and cache size; the value is None if it is not known."""
        one = self.entry
        texts = [f"{number(one.quality)} {one.measure}", number(one.share), size(one.cache)]
        values = [one.quality, one.share, one.cache]
        return [
            (text, value) if math.isfinite(value) else (MISSING, None)
            for text, value in zip(texts, values, strict=True)
        ]


@dataclass(frozen=True)
class IndexPage:
    """The values of the template: rows of the table, and what the script draws."""

    title: str
    origin: list[str]
    answer: list[str]
    notes: list[str]
    summary: list[tuple[str, str, str]]
    charts: Charts
    rows: list[Shown]
    cache_at: str
    drawn: dict[str, Any]


def write(root: Path, output: Path, console: Console) -> int:
    """Write the page of all runs below a folder, and return their number.

    What was read of each run is stored beside the page, so that only runs with changed files are read again.

    Raises:
        UserError: there is no such folder, or it has no runs.
    """
    if not root.is_dir():
        raise UserError(f"runs={root}: there is no such folder; give a folder with run folders, such as runs=outputs.")
    folders = list(run_folders(root))
    if not folders:
        raise UserError(f"runs={root} has no run folder; give a folder with run folders, such as runs=outputs.")
    stored = output.with_name(f".{output.stem}.json")
    before, after = _stored(stored), {}
    with Bars.on(console) as bar:
        task = bar.add_task("reading runs", total=len(folders), figures="")
        for folder in folders:
            name, now = str(folder.relative_to(root)), fingerprint(folder)
            was = before.get(name)
            after[name] = was if was is not None and was[0] == now else (now, entry(folder))
            bar.advance(task)
    with replacing(stored) as part:
        content = {"format": FORMAT, "runs": plain(after)}
        part.write_text(json.dumps(content, allow_nan=False), encoding="utf-8", errors="backslashreplace")
    entries = {name: one for name, (_, one) in after.items()}
    running = {str(folder.relative_to(root)) for folder in folders if in_use(folder)}
    write_page(output, render(entries, running, root, output.parent))
    return len(entries)


def _stored(path: Path) -> dict[str, tuple[str, Entry]]:
    """Return the stored entries with the fingerprints of their folders; empty if there are none that fit."""
    try:
        given = json.loads(read(path))
        if given["format"] != FORMAT:
            return {}
        found: dict[str, tuple[str, Entry]] = decode(dict[str, tuple[str, Entry]], given["runs"], "runs")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found


def render(entries: Entries, running: set[str], root: Path, at: Path) -> str:
    """Return the page as HTML.

    Args:
        entries: the runs.
        running: folders of runs that a process writes to.
        root: folder of the index.
        at: folder of the page; links are relative to it.
    """
    names = _names(entries)
    rows = [_row(folder, names[folder], entries, running, root, at) for folder in entries]
    rows.sort(key=lambda row: row.entry.created, reverse=True)
    states = Counter(row.entry.status for row in rows if not row.within)
    made = IndexPage(
        title=f"Runs in {root.resolve().name}",
        origin=[],
        answer=[],
        notes=[],
        summary=[(state, str(count), "") for state, count in states.most_common()],
        charts=Charts([]),
        rows=rows,
        cache_at=context(LONG),
        drawn=_drawn(rows),
    )
    return environment().get_template("index.html.j2").render(page=made)


def _names(entries: Entries) -> dict[str, str]:
    """Return the name of each run by its folder: its title, with the name of the folder where titles are the same."""
    titles = {folder: _title(folder, one) for folder, one in entries.items()}
    counts = Counter(titles.values())
    return {
        folder: title if counts[title] == 1 else f"{title}, {Path(folder).name}" for folder, title in titles.items()
    }


def _title(folder: str, one: Entry) -> str:
    return one.title or Path(folder).name


def _row(folder: str, name: str, entries: Entries, running: set[str], root: Path, at: Path) -> Shown:
    one, within = entries[folder], next((str(up) for up in Path(folder).parents if str(up) in entries), "")
    parts = [part for other, part in entries.items() if other.startswith(f"{folder}/")]
    if folder in running and one.status != DAMAGED:
        one = replace(one, status=RUNNING)
    if parts and one.status in (RUNNING, STOPPED):
        done = sum(part.status == FINISHED for part in parts)
        one = replace(one, reason=f"{done} of {len(parts)} begun are finished")
    best = next((part for other, part in entries.items() if one.best and other == f"{folder}/search/{one.best}"), None)
    if best is not None:
        one = replace(one, share=best.share, cache=best.cache)
    href = link(root.resolve() / folder / REPORT, at) if one.report else ""
    return Shown(folder, _title(folder, one), name, within, href, KINDS.get(one.command, MISSING), one)


def _drawn(rows: Sequence[Shown]) -> dict[str, Any]:
    """Return what the script needs: the most common value of each option, and the others and the curves of each run."""
    values: dict[str, Counter[str]] = {}
    for row in rows:
        for option, value in row.entry.options.items():
            values.setdefault(option, Counter())[value] += 1
    common = {option: counts.most_common(1)[0][0] for option, counts in values.items()}
    runs = [{"name": row.name, "own": _others(row.entry.options, common), "curves": row.entry.curves} for row in rows]
    return {"common": common, "runs": runs}


def _others(options: Mapping[str, str], common: Mapping[str, str]) -> dict[str, str | None]:
    """Return the options with another value than the most common one; None for an option that the run lacks."""
    return {option: options.get(option) for option, value in common.items() if options.get(option) != value}
