"""Results on disk: one file for each result, written as soon as it is computed."""

import json
from pathlib import Path

from nas.files.saving import replacing, subfolder
from nas.runs.folder import cannot_write, plain
from nas.suites.plan import Unit
from nas.suites.result import Result

FOLDER = "suites"
"""Folder of the files in the output folder."""


def stored(output: Path, unit: Unit) -> Result | None:
    """Return the result of an earlier call with the same settings; None if there is none, or it is damaged."""
    try:
        found = json.loads(_path(output, unit).read_text(encoding="utf-8"))
        return Result.from_json(found["result"]) if found["settings"] == unit.settings else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store(output: Path, unit: Unit, result: Result) -> None:
    """Write a result; raise UserError if that fails."""
    text = json.dumps(plain({"settings": unit.settings, "result": result}), indent=1, allow_nan=False) + "\n"
    with cannot_write(output):
        subfolder(output, FOLDER)
        with replacing(_path(output, unit)) as part:
            part.write_text(text, encoding="utf-8")


def _path(output: Path, unit: Unit) -> Path:
    return output / FOLDER / f"{unit.name}.json"
