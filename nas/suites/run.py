"""Run suites on a trained run: what is computed is kept at once, and the same command continues.

The suites measure what a model can do with text, at lengths beyond its training too:

- ``text``: bits per byte of held-out documents, by position; see `nas.suites.text`.
- ``ruler``: tasks of RULER that need no download, with greedy decoding; see `nas.suites.ruler`.
- ``recall``: n-grams that stand earlier in the sequence, by distance; see `nas.suites.recall`.
- ``identifiers``: renamed identifiers that stand earlier in the source, by distance; see `nas.suites.identifiers`.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console

from nas.console import Bars, say
from nas.errors import UserError
from nas.files.saving import replacing
from nas.options.suites import SuitesConfig
from nas.results.opened import OpenedRun
from nas.runs.folder import cannot_write, plain
from nas.shares.thresholds import threshold_of
from nas.suites import figures, table
from nas.suites.plan import SUITES, Plan, Unit
from nas.suites.result import Result
from nas.suites.ruler.suite import ORDER
from nas.suites.store import store, stored
from nas.suites.subject import ModelSubject

RESULTS, TABLE = "results.json", "results.md"
"""Files of the output folder."""

Results = Mapping[str, Sequence[Result]]
"""Results by suite."""


def run_suites(
    opened: OpenedRun, names: Sequence[str], options: SuitesConfig, output: Path, console: Console
) -> Results:
    """Run suites and write and print their results; return them.

    Args:
        opened: run with weights.
        names: names of the suites.
        options: options of the suites.
        output: folder of the results; it exists.
        console: console for progress and tables.

    Raises:
        UserError: a name is unknown, the tokens of the run are no text, or nothing can be computed.
    """
    for name in names:
        if name not in SUITES:
            raise UserError(f"suite={name} is unknown; choose one or more of: {', '.join(SUITES)}.")
    plan = Plan(opened, options)
    units = [unit for name in SUITES if name in names for unit in plan.units(name)]
    results, notes = _computed(units, opened, options, output, console)
    if not results:
        raise UserError(notes[0])
    results.sort(key=lambda one: (SUITES.index(one.suite), ORDER.index(one.part) if one.part else 0, one.length))
    by_suite = {name: list(own) for name, own in groupby(results, key=lambda one: one.suite)}
    files = _write(by_suite, notes, opened, options, output)
    for own in by_suite.values():
        console.print(table.terminal(own))
    for note in notes:
        say(console, f"Left out: {note}")
    say(console, f"Files: {', '.join(map(str, files))}")
    return by_suite


def _computed(
    units: Sequence[Unit], opened: OpenedRun, options: SuitesConfig, output: Path, console: Console
) -> tuple[list[Result], list[str]]:
    """Return the results of units, from files or computed, and why others could not be computed."""
    results: list[Result] = []
    left_out: dict[tuple[str, int, str], list[str]] = {}
    moved = None if options.share is None else threshold_of(opened, options.share).policy
    with Bars.on(console) as bars:
        bar = bars.add_task("Sequences", total=len(units) * options.samples, figures="")
        for place, unit in enumerate(units, start=1):
            bars.update(bar, figures=f"{unit.suite} {unit.part}".rstrip() + f", {unit.length:,} tokens")
            found = None if options.overwrite else stored(output, unit)
            if found is None:
                subject = ModelSubject(opened.trained, moved or opened.policy, opened.autocast)
                try:
                    found = unit.compute(subject, lambda count: bars.advance(bar, count))
                except UserError as error:
                    left_out.setdefault((unit.suite, unit.length, str(error)), []).append(unit.part)
                else:
                    store(output, unit, found)
            if found is not None:
                results.append(found)
            bars.update(bar, completed=place * options.samples)
    return results, [_note(*key, parts) for key, parts in left_out.items()]


def _note(suite: str, length: int, reason: str, parts: Sequence[str]) -> str:
    """Return why parts of a suite could not be computed at a length."""
    named = f" ({', '.join(parts)})" if any(parts) else ""
    return f"{suite} at {length:,} tokens{named}: {reason}"


def _write(
    by_suite: Results, notes: Sequence[str], opened: OpenedRun, options: SuitesConfig, output: Path
) -> list[Path]:
    """Write the results as JSON, as Markdown and as figures; return the paths."""
    content = {
        "run": str(opened.run.path),
        "weights": opened.weights,
        "share": options.share,
        "suites": by_suite,
        "left_out": notes,
    }
    texts = {RESULTS: json.dumps(plain(content), indent=1, allow_nan=False) + "\n", TABLE: table.page(by_suite, notes)}
    with cannot_write(output):
        for name, text in texts.items():
            with replacing(output / name) as part:
                part.write_text(text, encoding="utf-8")
        drawn = figures.draw(by_suite, opened.config.data.length, output)
    return [*(output / name for name in texts), *drawn]
