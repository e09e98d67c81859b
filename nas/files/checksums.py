"""Checksums of the files that a command reads back from a run folder: damage is noticed before they are used.

The checksum of a file is recorded just before the file takes its place, beside that of the file that it replaces. So a
process that is killed between the two leaves a file with one of them. TensorBoard's files have checksums of their own;
pages and figures are made anew from the other files.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import UserError
from nas.files.saving import replacing

CHECKSUMS = "checksums.json"
"""File with the SHA-256 of each such file of a run folder, by its path inside; the newest version first."""


@contextmanager
def recording(folder: Path, path: Path) -> Iterator[Path]:
    """Yield a new file for ``path`` as `nas.files.saving.replacing` does, and record its checksum in a run folder."""
    with replacing(path) as temporary:
        yield temporary
        known = {name: digests for name, digests in _recorded(folder).items() if (folder / name).exists()}
        before = known.get(_name(folder, path), [])[:1]
        if not before and path.exists():  # an earlier version wrote it without a checksum
            before = [digest(path)]
        known[_name(folder, path)] = [digest(temporary), *before]
        with replacing(folder / CHECKSUMS) as listed:
            listed.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_recorded(folder: Path, path: Path) -> bool:
    """Return whether a run folder has a checksum of a file."""
    return _name(folder, path) in _recorded(folder)


def is_intact(folder: Path, path: Path) -> bool:
    """Return whether a file of a run folder has the recorded checksum; True if none is recorded for it."""
    expected = _recorded(folder).get(_name(folder, path))
    return expected is None or digest(path) in expected


def require_intact(folder: Path, path: Path) -> None:
    """Raise a UserError if an existing file of a run folder does not have the recorded checksum."""
    if path.exists() and not is_intact(folder, path):
        raise UserError(
            f"{path} is damaged: its checksum is not the one in {CHECKSUMS}; restore it from a copy. If you edited "
            f"the file, delete {folder / CHECKSUMS}."
        )


def _recorded(folder: Path) -> dict[str, list[str]]:
    """Return the recorded checksums; none if there is no file of them, as in runs of earlier versions."""
    path = folder / CHECKSUMS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(digest) for digest in digests] for name, digests in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged, so the files beside it cannot be checked; delete it to use them as they are."
        ) from error


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
