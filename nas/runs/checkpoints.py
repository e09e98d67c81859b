"""The checkpoints of a run folder: saved whole, the newest two kept, and the newest one checked before it is used.

Beside them may be `BEST`, the weights with the best validation quality, from which no run resumes.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nas.errors import UserError
from nas.files import checksums
from nas.files.saving import subfolder
from nas.runs.folder import CHECKPOINTS

BEST = "best.ckpt"
"""Name of the file with the weights of the best validation quality."""
KEPT = 2
"""Number of checkpoints in a run folder: the older one is for the case that the newest is damaged."""


def paths(folder: Path) -> list[Path]:
    """Return the paths of all checkpoints of a run folder, that of the latest step first."""
    return sorted((folder / CHECKPOINTS).glob("step=*.ckpt"), reverse=True)


def newest(folder: Path) -> Path | None:
    """Return the path of the checkpoint of the latest step; None if there is no checkpoint."""
    return next(iter(paths(folder)), None)


def begun(folder: Path) -> bool:
    """Return whether a run has a checkpoint to resume from: its own, or one of its stages or candidates."""
    return next(folder.rglob(f"{CHECKPOINTS}/step=*.ckpt"), None) is not None


def save(folder: Path, step: int, write: Callable[[Path], None]) -> None:
    """Save the checkpoint of a step by calling ``write`` with a path, then delete all but the newest `KEPT`."""
    final = subfolder(folder, CHECKPOINTS) / f"step={step:09d}.ckpt"
    with checksums.recording(folder, final) as temporary:
        write(temporary)
    for other in [path for path in paths(folder) if path < final][KEPT - 1 :]:
        other.unlink()


def save_best(folder: Path, write: Callable[[Path], None]) -> None:
    """Save the weights with the best validation quality by calling ``write`` with a path."""
    with checksums.recording(folder, subfolder(folder, CHECKPOINTS) / BEST) as temporary:
        write(temporary)


def best(folder: Path) -> Path | None:
    """Return the path of the weights with the best validation quality; None if none are saved."""
    path = folder / CHECKPOINTS / BEST
    return path if path.exists() else None


def newest_intact(folder: Path, unfit: Callable[[dict[str, Any]], str | None]) -> tuple[Path, int] | None:
    """Return the newest checkpoint and its step; None if there is no checkpoint.

    Args:
        folder: run folder.
        unfit: function that returns why the content of a checkpoint cannot be restored; None if it can.

    Raises:
        UserError: the newest checkpoint is damaged. The message names an older one that is intact, if any.
    """
    damage: list[str] = []
    for path in paths(folder):
        found = _step_of(folder, path, unfit)
        if isinstance(found, str):
            damage.append(f"{path} is damaged ({found})")
            continue
        if not damage:
            return path, found
        raise UserError(f"{', '.join(damage)}, but {path} is intact; delete the former to continue from step {found}.")
    if damage:
        raise UserError(f"{damage[0]}, and no older checkpoint is intact; start a new run.")
    return None


def _step_of(folder: Path, path: Path, unfit: Callable[[dict[str, Any]], str | None]) -> int | str:
    """Return the step of a checkpoint of a run folder, or as text what is wrong with it."""
    if not checksums.is_intact(folder, path):
        return f"its checksum is not the one in {checksums.CHECKSUMS}"
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in as many ways as there are formats inside it
        return f"it cannot be read: {type(error).__name__}"
    step = content.get("global_step") if isinstance(content, dict) else None
    if not isinstance(step, int) or step < 0:
        return "it has no step"
    return unfit(content) or step
