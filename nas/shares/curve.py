"""Quality against cost of one trained model: measured share by share, kept in a file, shown as a table and charts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from nas.config import EvaluateConfig
from nas.console import say, terminal_table
from nas.data.batch import HIGHER
from nas.errors import UserError
from nas.evaluation.metrics import DIRECTION
from nas.files.saving import replacing
from nas.report.chart_files import save_chart
from nas.report.units import markdown
from nas.results.opened import OpenedRun, open_trained
from nas.runs.decode import decode
from nas.runs.folder import cannot_write, plain
from nas.shares.figure import charts, table
from nas.shares.points import TRAINED, Point, Wanted, hash_of, measured, name

POINTS, TABLE = "shares.json", "shares.md"
"""Files of the output folder."""


def evaluate_shares(opened: OpenedRun, config: EvaluateConfig, output: Path, console: Console) -> None:
    """Measure a run at each share of the options, and other runs as they were trained; write and print the results.

    Points that the output folder has already are not measured again.

    Args:
        opened: finished run.
        config: options of the command.
        output: folder of the results; it exists.
        console: console for progress and the table.

    Raises:
        UserError: no router of the run decides, or another run is on other data.
    """
    assert config.share is not None
    others = [open_trained("beside", folder, config.device) for folder in config.beside]
    for other in others:
        _check_same_data(opened, other)
    points = _Measured(opened, config.length_factor, output / POINTS, console).all(sorted(set(config.share)), others)
    quality = opened.task.quality
    rows = table(points, quality)
    with cannot_write(output):
        with replacing(output / TABLE) as part:
            part.write_text(markdown(rows), encoding="utf-8")
        drawn = [path for chart in charts(points, quality) for path in save_chart(chart, output)]
    title = f"{opened.task.name}, sequences of {points[0].tokens:,} tokens"
    console.print(terminal_table(rows, title, f"{quality.replace('_', ' ')}: {DIRECTION[quality]}"))
    say(console, f"Files: {', '.join(map(str, (output / POINTS, output / TABLE, *drawn)))}")


class _Measured:
    """The points of a file, and those that are measured and added to it.

    Args:
        data: run on whose validation sequences all points are measured.
        length_factor: their length, as a multiple of the training length.
        path: the file.
        console: console for progress.
    """

    def __init__(self, data: OpenedRun, length_factor: int, path: Path, console: Console) -> None:
        self._data, self._factor, self._path, self._console = data, length_factor, path, console
        self._batches = data.task.validation_batches(length_factor)
        self._sequences = hash_of(self._batches)
        self._known = _read(path)

    def all(self, shares: Sequence[float], others: Sequence[OpenedRun]) -> list[Point]:
        """Return the run as trained, other runs as trained, and the run at each share with routers and at random."""
        points = [self._point(Wanted(opened=opened)) for opened in (self._data, *others)]
        for share in shares:
            kept = self._point(Wanted(opened=self._data, share=share))
            points += [kept, self._point(Wanted(opened=self._data, share=share, as_point=kept))]
        return points

    def _point(self, wanted: Wanted) -> Point:
        """Return a point, from the file or measured; the file then has it."""
        key = wanted.key(self._sequences)
        found = next((point for point in self._known if point.key == key), None)
        if found is None:
            routing = TRAINED if wanted.share is None else f"at share={wanted.share:g}"
            with self._console.status(f"Measuring {wanted.opened.run.path.name} {routing} ..."):
                found = measured(wanted, self._data, self._batches, self._factor)
            self._known.append(found)
            _write(self._path, self._known, self._data.task.quality)
        return replace(found, run=name(wanted.opened))  # a folder may have been moved since


def _read(path: Path) -> list[Point]:
    """Return the points of an earlier call; none if there is no file, or if it is damaged."""
    try:
        found: list[Point] = decode(list[Point], json.loads(path.read_text(encoding="utf-8"))["points"], "points")
        return found
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write(path: Path, points: Sequence[Point], quality: str) -> None:
    content = {"quality": quality, "higher_is_better": HIGHER[quality], "points": [plain(one) for one in points]}
    with cannot_write(path), replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _check_same_data(opened: OpenedRun, other: OpenedRun) -> None:
    """Raise a UserError if another run cannot be evaluated on the sequences of a run."""
    if opened.tokens != other.tokens:
        raise UserError(
            f"beside={other.run.path} was trained on {other.tokens}, but run={opened.run.path} on {opened.tokens}; "
            "give runs on the same data."
        )
