"""Checksums of the files from which a run continues or a model is made: damage is noticed before they are used."""

import hashlib
import json
from pathlib import Path

from nas.errors import UserError
from nas.runs.files import replacing

CHECKSUMS = "checksums.json"
"""File with the SHA-256 of each such file of a run folder, by its path inside."""


def record(folder: Path, path: Path) -> None:
    """Record the checksum of a file of a run folder, and forget files that no longer exist."""
    found = {name: digest for name, digest in _recorded(folder).items() if (folder / name).exists()}
    found[str(path.relative_to(folder))] = _digest(path)
    with replacing(folder / CHECKSUMS) as temporary:
        temporary.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_intact(folder: Path, path: Path) -> bool:
    """Return whether a file of a run folder has the recorded checksum; True if none is recorded for it."""
    expected = _recorded(folder).get(str(path.relative_to(folder)))
    return expected is None or expected == _digest(path)


def require_intact(folder: Path, path: Path) -> None:
    """Raise a UserError if an existing file of a run folder does not have the recorded checksum."""
    if path.exists() and not is_intact(folder, path):
        raise UserError(f"{path} is damaged: its checksum is not the one in {CHECKSUMS}; restore it from a copy.")


def _recorded(folder: Path) -> dict[str, str]:
    """Return the recorded checksums; none if the file is missing or damaged, as in runs of earlier versions."""
    try:
        found = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
