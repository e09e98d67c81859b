"""Results that are worth keeping on a user's machine: JSON files of values by group and key."""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def cache_path(name: str) -> Path:
    """Return the path of a file in this project's cache folder, below ``XDG_CACHE_HOME`` if that is set."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder) / "nas-hybrid-attention" / name


def read_cache(path: Path, group: str) -> dict[str, Any]:
    """Return the values of a group by key; none if the file is missing or damaged."""
    return _read_all(path).get(group, {})


def add_to_cache(path: Path, group: str, values: Mapping[str, Any]) -> None:
    """Add values to a group of the file, which is replaced whole. A folder that cannot be written stays as it is."""
    content = _read_all(path)
    content.setdefault(group, {}).update(values)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(content, file, indent=1)
        os.replace(file.name, path)


def _read_all(path: Path) -> dict[str, dict[str, Any]]:
    """Return the contents of the file; without those that are not as they were written."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {group: values for group, values in content.items() if isinstance(values, dict)}
