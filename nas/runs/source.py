"""The corpus of a run: recorded at its start, so that a resumed run and its parts train on the same text."""

from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from nas.console import say
from nas.data.batch import Task
from nas.data.corpus import Source
from nas.distributed.launch import launched
from nas.errors import UserError
from nas.runs.folder import Run, read_json

CORPUS = "corpus.json"
"""File with the `Source` of a run."""
NAMED = 5
"""Largest number of changed files in a message."""


class Changes(NamedTuple):
    """The files in which two corpora differ, by their paths inside the folder."""

    changed: list[str]
    missing: list[str]
    new: list[str]

    def __str__(self) -> str:
        """Return the files as text for a message."""
        parts = [f"{kind} {_listed(names)}" for kind, names in zip(self._fields, self, strict=True) if names]
        return "; ".join(parts)


def source_of(task: Task) -> Source | None:
    """Return the files that a task reads; None if it generates its data or does not tell."""
    found: Source | None = getattr(task, "source", None)
    return found


def read_source(folder: Path) -> Source | None:
    """Return the recorded corpus of a run; None if it has none, or if the file is missing or damaged."""
    stored = read_json(folder / CORPUS)
    try:
        files = {name: (int(size), str(digest)) for name, (size, digest) in stored["files"].items()}
        return Source(stored["path"], files)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def keep_source(run: Run, source: Source | None, console: Console) -> None:
    """Print what a run reads, and record it in the run folder.

    Args:
        run: run folder, new or resumed.
        source: corpus of the run; None if it generates its data.
        console: console for the output.

    Raises:
        UserError: the corpus has changed since the run was started, or since the sweep or the comparison around it was.
    """
    if source is None:
        return
    if (run.path / CORPUS).exists():
        _require_same(run.path, source)
    else:
        _require_same(run.path.resolve().parents[1], source)
        if launched().first:
            run.write_json(CORPUS, {"path": source.path, "files": source.files})
    say(console, f"Reading {source}")


def changes(before: Source, now: Source) -> Changes | None:
    """Return the files in which two corpora differ; None if they are the same."""
    if before.files == now.files:
        return None
    return Changes(
        changed=[name for name, known in before.files.items() if now.files.get(name, known) != known],
        missing=[name for name in before.files if name not in now.files],
        new=[name for name in now.files if name not in before.files],
    )


def _require_same(folder: Path, source: Source) -> None:
    """Raise a UserError that names the changed files if the corpus is not the one recorded in a run folder.

    A corpus of another ``data.path`` is not compared: the config tells it apart.
    """
    before = read_source(folder)
    if before is None or before.path != source.path:
        return
    if found := changes(before, source):
        raise UserError(
            f"data.path={'null' if source.path is None else source.path} has changed since {folder} was started "
            f"({found}); restore the files, or delete {folder / CORPUS} to continue on the changed ones."
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
