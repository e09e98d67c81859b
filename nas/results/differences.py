"""The options, the data and the versions in which two runs differ."""

from pathlib import Path
from typing import Any

from nas.config import flat
from nas.runs.folder import Run
from nas.runs.options import FOLDER
from nas.runs.source import CORPUS, read_source

SKIPPED = (*FOLDER, "created", "launch", "command_line")
"""Parts of `config.yaml` that differ between any two runs."""
ABSENT = "\N{EN DASH}"


def differences(first: Path, second: Path) -> list[tuple[str, str, str]]:
    """Return the name and both values of everything that differs between two run folders, as text; the data first."""
    ours, theirs = _values(first), _values(second)
    return [
        (name, str(ours.get(name, ABSENT)), str(theirs.get(name, ABSENT)))
        for name in {**ours, **theirs}
        if ours.get(name, ABSENT) != theirs.get(name, ABSENT)
    ]


def _values(folder: Path) -> dict[str, Any]:
    """Return what a run folder says of the data, the command, the options and the versions, by name.

    Options without a value are left out, since another command may not have them.
    """
    described = dict(Run(folder).described())
    source, config = read_source(folder), flat(described.pop("config"))
    values = {} if source is None else {CORPUS.removesuffix(".json"): f"{source}, hash {source.digest}"}
    values |= {"command": described.pop("command")}
    values |= dict(sorted(config.items(), key=lambda option: not option[0].startswith("data."))) | flat(described)
    return {name: value for name, value in values.items() if name not in SKIPPED and value is not None}
