"""Quality against cost of one trained model: measured share by share, kept in a file, shown as a table and charts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas.config import EvaluateConfig
from nas.console import say
from nas.data.batch import HIGHER
from nas.errors import UserError
from nas.evaluation.metrics import DIRECTION
from nas.files.saving import replacing
from nas.report.chart_files import save_chart
from nas.report.units import markdown
from nas.results.opened import OpenedRun, open_run
from nas.runs.folder import cannot_write, plain
from nas.shares.figure import charts, table
from nas.shares.points import Point, Wanted, measured

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
    others = [open_run("beside", folder, config.device) for folder in config.beside]
    for other in others:
        _check_same_data(opened, other)
    shares = sorted(set(config.share))
    wanted = [*(Wanted(opened, share) for share in shares), Wanted(opened), *(Wanted(other) for other in others)]
    points = list(_points(wanted, opened, config.length_factor, output / POINTS, console))
    quality = opened.task.quality
    rows = table(points, quality)
    with cannot_write(output):
        with replacing(output / TABLE) as part:
            part.write_text(markdown(rows), encoding="utf-8")
        drawn = [path for chart in charts(points, quality) for path in save_chart(chart, output)]
    _print(rows, f"{opened.task.name}, sequences of {points[0].tokens:,} tokens", quality, console)
    say(console, f"Files: {', '.join(map(str, (output / POINTS, output / TABLE, *drawn)))}")


def _print(rows: Sequence[Mapping[str, str]], title: str, quality: str, console: Console) -> None:
    made = Table(title=title, caption=f"{quality.replace('_', ' ')}: {DIRECTION[quality]}; ± 95 % interval")
    for place, column in enumerate(rows[0]):
        made.add_column(column, justify="right" if place else "left")
    for row in rows:
        made.add_row(*row.values())
    console.print(made)


def _points(
    wanted: Sequence[Wanted], data: OpenedRun, length_factor: int, path: Path, console: Console
) -> Iterator[Point]:
    """Yield the point of each wanted share, from the file or measured; write the file after each measurement."""
    batches = data.task.validation_batches(length_factor)
    tokens, known = batches[0].tokens.shape[1], _read(path)
    for number, one in enumerate(wanted, start=1):
        found = next((point for point in known if point.matches(one, data, tokens)), None)
        if found is None:
            with console.status(f"Measuring {number} of {len(wanted)} ..."):
                found = measured(one, data, batches, length_factor)
            known.append(found)
            _write(path, known, data.task.quality)
        yield found


def _read(path: Path) -> list[Point]:
    """Return the points of an earlier call; none if there is no file, or if it is damaged."""
    try:
        return [Point.from_json(one) for one in json.loads(path.read_text(encoding="utf-8"))["points"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write(path: Path, points: Sequence[Point], quality: str) -> None:
    content = {"quality": quality, "higher_is_better": HIGHER[quality], "points": [plain(one) for one in points]}
    with cannot_write(path), replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _check_same_data(opened: OpenedRun, other: OpenedRun) -> None:
    """Raise a UserError if another run cannot be evaluated on the sequences of a run."""
    mine, theirs = ((one.task.name, one.task.vocab_size, one.task.quality) for one in (opened, other))
    if mine != theirs:
        raise UserError(
            f"beside={other.run.path} was trained on {theirs[0]} with {theirs[1]} token ids, but run={opened.run.path} "
            f"on {mine[0]} with {mine[1]}; give runs on the same data."
        )
