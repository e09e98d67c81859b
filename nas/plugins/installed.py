"""Entry points of installed plugins and their folders of YAML files. Nothing here imports a plugin."""

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
    """Kind of addition by a plugin.

    Attributes:
        name: name in messages.
        entry_points: group of entry points.
        group: Hydra group of its YAML files; None if it has none.
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
"""Name of the folder of a plugin's YAML files, in its package or in the folder of its module."""


def names(kind: Kind) -> list[str]:
    """Return the names of the entry points of a kind, sorted."""
    return sorted({entry.name for entry in _entries() if entry.group == kind.entry_points})


def entry_point(kind: Kind, name: str) -> EntryPoint | None:
    """Return the entry point of a name, None if there is none; raise a UserError if two distributions have one."""
    found = [entry for entry in _entries() if (entry.group, entry.name) == (kind.entry_points, name)]
    if len(found) > 1:
        both = " and ".join(map(describe, found))
        raise UserError(f"{kind.name} {name} is in two packages, {both}; uninstall one of them.")
    return found[0] if found else None


def describe(entry: EntryPoint) -> str:
    """Return an entry point as text for messages: distribution, version, and its line in the project file."""
    place = f"entry point {entry.name} = {entry.value} in {entry.group}"
    return f"{entry.dist.name} {entry.dist.version} ({place})" if entry.dist else place


def yaml_folders() -> list[Path]:
    """Return the folders of YAML files of all installed plugins."""
    folders = [folder for entry in _entries() for folder in _folders_of(entry.module)]
    return list(dict.fromkeys(folders))


def _entries() -> tuple[EntryPoint, ...]:
    return _entries_on(tuple(sys.path))


@functools.cache
def _entries_on(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of every kind; ``path`` is ``sys.path``, so that its changes invalidate the cache."""
    found = entry_points()
    return tuple(entry for kind in KINDS for entry in found.select(group=kind.entry_points))


def _folders_of(module: str) -> Iterator[Path]:
    """Yield the folders of YAML files in the packages that contain a module, without importing them."""
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
