"""The folder of an export: what it may replace, and writing it completely or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from nas.errors import UserError
from nas.exporting.tokenizer import FILES
from nas.files.saving import temporary_name

CONFIG, GENERATION, WEIGHTS, CARD = "config.json", "generation_config.json", "model.safetensors", "README.md"
CODE = "modeling_nas_hybrid.py"
WRITTEN = {CONFIG, GENERATION, WEIGHTS, CARD, CODE, *FILES}
"""All files that an export may write."""


def check_folder(to: Path, run: Path, overwrite: bool) -> None:
    """Raise a UserError unless an export can be written to a folder.

    Args:
        to: folder to write.
        run: folder of the run.
        overwrite: whether an earlier export may be replaced.
    """
    if to.resolve().is_relative_to(run.resolve()):
        raise UserError(f"to={to} is inside run={run}, whose files do not change; give a folder outside the run.")
    if to.exists() and not to.is_dir():
        raise UserError(f"to={to} is a file; give a folder.")
    try:
        there = sorted(os.listdir(to)) if to.exists() else []
    except OSError as error:
        raise cannot_write(to, error) from error
    if there and not overwrite:
        raise UserError(f"to={to} is not empty; give a new folder, or overwrite=true to replace an earlier export.")
    if others := [name for name in there if name not in WRITTEN]:
        raise UserError(
            f"to={to} has {others[0]}, which no export writes, so overwrite=true does not replace the folder; give "
            "another folder, or move the file."
        )
    parent = next(folder for folder in to.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"to={to}: {parent} is not a folder that can be written; give another folder.")


def write_folder(to: Path, fill: Callable[[Path], None]) -> None:
    """Write a folder that `check_folder` has accepted.

    Args:
        to: folder to write; the files of an earlier export are replaced once the new ones are complete.
        fill: writes the files into an empty folder.

    Raises:
        UserError: the folder cannot be written; it is then as before.
    """
    place = to.resolve()  # the folder itself, where a link leads to it
    hidden = temporary_name(place)
    try:
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.mkdir()
        try:
            fill(hidden)
            if place.exists():
                shutil.rmtree(place)
            os.rename(hidden, place)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise cannot_write(to, error) from error


def cannot_write(to: Path, error: Exception) -> UserError:
    """Return the message for an error of the file system."""
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"to={to} cannot be written ({reason}); free disk space, or give another folder.")
