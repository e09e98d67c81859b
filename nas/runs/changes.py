"""Options that are given beside ``resume``: they replace those of the run, if they may, and its folder records them."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import yaml

from nas.config import RunConfig, flat, renamed
from nas.distributed.launch import launched
from nas.errors import UserError, warn
from nas.files.lock import locked
from nas.runs import checkpoints
from nas.runs.folder import CONFIG, Run
from nas.runs.options import AMOUNT, CODE, FOLDER, LOGGING, MACHINE
from nas.runs.paths import absolute
from nas.runs.secrets import STORAGE, masked_config

STEPS = "trainer.steps"
"""Option that may grow when a run is resumed: it is trained for longer."""
LONGER = ("search", "train")
"""Commands whose runs can be trained for longer. The trainings of a sweep or a comparison all have one length."""
GROWING = ("sweep.trials", "seeds")
"""Options of which the larger value is kept: a smaller one would drop results."""
CHANGES = "changes"
"""Key of the record in `config.yaml`."""


def apply(command: str, run: Run, config: RunConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace options of a run by given ones.

    Args:
        command: name of the command.
        run: the run to resume.
        config: the config of the run; changed in place.
        changes: given options by dotted name; equal ones change nothing.

    Returns:
        The old and the new value of each option that changes.

    Raises:
        UserError: an option may not change; the message names it.
    """
    own = flat(asdict(config))
    ignored = {*FOLDER, *CODE, STORAGE}
    new = {
        name: value
        for name, value in changes.items()
        if name not in ignored and _comparable(name, own.get(name, "absent")) != _comparable(name, value)
    }
    allowed = [name for name in (*AMOUNT, *MACHINE, *LOGGING, *((STEPS,) if command in LONGER else ())) if name in own]
    if refused := [f"{name}={new[name]} (it has {own.get(name, 'absent')})" for name in new if name not in allowed]:
        raise UserError(
            f"resume={run.path} was started with another config. Different: {'; '.join(refused)}. Leave them out; only "
            f"these can change: {', '.join(allowed)}."
        )
    if STEPS in new and new[STEPS] < own[STEPS]:
        raise UserError(f"trainer.steps={new[STEPS]} is below the {own[STEPS]} of resume={run.path}; give more.")
    for name in [name for name in GROWING if name in new and new[name] < own[name]]:
        warn(f"{name}={new.pop(name)} is below the {own[name]} of resume={run.path}; its results stay.")
    for name, value in new.items():
        _set(config, name, value)
    return {name: {"from": own[name], "to": value} for name, value in new.items()}


def record(run: Run, config: RunConfig, changed: Mapping[str, Any]) -> None:
    """Write the new config of a run, with the options that changed and the step at which they did.

    Args:
        run: the run to resume.
        config: its new config.
        changed: result of `apply`; nothing is written if it is empty.
    """
    if changed:
        with locked(run.path):
            if launched().first:
                _write(run, config, changed)


def _comparable(name: str, value: Any) -> Any:
    """Return a value in the form in which two of them are compared: paths of runs are absolute, names those of now."""
    return (
        [absolute(name, run) for run in value] if name == "runs" and isinstance(value, list) else renamed(name, value)
    )


def _set(config: Any, name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        config = getattr(config, group)
    setattr(config, last, value)


def _write(run: Run, config: RunConfig, changed: Mapping[str, Any]) -> None:
    described = run.described()
    newest = checkpoints.newest(run.path)
    step = 0 if newest is None else int(newest.stem.removeprefix("step="))
    stored = masked_config(asdict(config))
    described["config"] = stored | {name: described["config"].get(name) for name in (*FOLDER, *CODE)}
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    described[CHANGES] = [*(described.get(CHANGES) or []), {"at": stamp, "step": step, "options": dict(changed)}]
    run.write_text(CONFIG, yaml.safe_dump(described, sort_keys=False))
