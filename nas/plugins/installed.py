"""Entry points of installed plugins: what they are named and where their YAML is. Nothing here imports a plugin."""

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from nas.errors import UserError


@dataclass(frozen=True)
class Kind:
    """Something that a plugin can add.

    Attributes:
        name: in messages.
        entry_points: group of entry points.
        group: folder in conf/ with its YAML files; None where it has none.
    """

    name: str
    entry_points: str
    group: str | None = None


SPACE = Kind("space", "nas.spaces", "space")
OPERATION = Kind("operation", "nas.operations")
TASK = Kind("task", "nas.tasks", "data")
SEARCHER = Kind("searcher", "nas.searchers", "searcher")
KINDS = (SPACE, OPERATION, TASK, SEARCHER)

YAML = "conf"
"""Folder of a plugin's YAML files, in its package or beside its module."""


def names(kind: Kind) -> list[str]:
    """Return the names that installed plugins announce, sorted."""
    return sorted({entry.name for entry in _entries() if entry.group == kind.entry_points})


def entry_point(kind: Kind, name: str) -> EntryPoint | None:
    """Return the entry point that announces a name; UserError where two distributions announce it."""
    found = [entry for entry in _entries() if (entry.group, entry.name) == (kind.entry_points, name)]
    if len(found) > 1:
        offers = " and ".join(map(describe, found))
        raise UserError(f"{kind.name} {name} is announced by {offers}; uninstall one of them.")
    return found[0] if found else None


def describe(entry: EntryPoint) -> str:
    """Return an entry point as messages name it: its distribution with the version, and its line in the project."""
    place = f"entry point {entry.name} = {entry.value} in {entry.group}"
    return f"{entry.dist.name} {entry.dist.version} ({place})" if entry.dist else place


def yaml_folders() -> list[Path]:
    """Return the folders with YAML files of all installed plugins."""
    folders = [folder for entry in _entries() for folder in _folders_of(entry.module)]
    return list(dict.fromkeys(folders))


def _entries() -> tuple[EntryPoint, ...]:
    return _entries_on(tuple(sys.path))


@functools.cache
def _entries_on(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of every kind on ``sys.path``, which is an argument so that a change of it is noticed."""
    found = entry_points()
    return tuple(entry for kind in KINDS for entry in found.select(group=kind.entry_points))


def _folders_of(module: str) -> Iterator[Path]:
    """Folders with YAML files in the packages that a module is in, found without importing them."""
    top, *inner = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location)
        for part in ("", *inner):
            folder /= part
            if (folder / YAML).is_dir():
                yield folder / YAML
