"""The run folder: its files, and how to write and read them.

Every file is written under a temporary name and then renamed, so that a kill or a full disk leaves the old file.
Reading executes no code: YAML and JSON are data, checkpoints are loaded with ``weights_only``, weights are safetensors.
Only the command that resumes a run imports the modules of the run's option ``plugins``.
"""

import errno
import json
import math
import os
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from nas.config import RunConfig, current, flat, restore
from nas.distributed.devices import precision_here
from nas.distributed.launch import launch_id, restarted
from nas.distributed.rendezvous import from_first, together
from nas.errors import UserError
from nas.files import checksums
from nas.files.lock import locked
from nas.files.saving import PART, flush, naming, saving, subfolder, temporary_name
from nas.plugins.loading import load
from nas.plugins.record import RECORD, record, require
from nas.runs.options import AMOUNT, CODE, FOLDER, PROCESSES
from nas.runs.paths import SPECIAL
from nas.runs.secrets import STORAGE, VARIABLE, masked, masked_arguments, masked_config, storage_of_environment
from nas.runs.versions import commit, hardware, versions

CONFIG, ARCHITECTURE, WEIGHTS = "config.yaml", "architecture.json", "model.safetensors"
METRICS, REPORT, CHECKPOINTS, TENSORBOARD = "metrics.json", "report.html", "checkpoints", "tensorboard"
CANDIDATES = "candidates.json"
KEPT = 2
"""Number of checkpoints in a run folder: the older one is for the case that the newest is damaged."""
NOT_COMPARED = {*FOLDER, *PROCESSES, *AMOUNT, *CODE, "sweep.search", STORAGE}
"""Options that may differ between a run and its resumption: they change at most the amount of work, and rounding."""


class Run:
    """One run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, command: str, config: RunConfig) -> "Run":
        """Make the folder ``output/command/date_time_name`` with the config; raise a UserError if that fails.

        The folder appears together with its `config.yaml`: it is made under a hidden name and then renamed.
        """
        if not config.name.strip() or any(part in config.name for part in (os.sep, *SPECIAL)):
            raise UserError(
                f"name={config.name!r} cannot be part of a folder's name; give a word without {os.sep!r}, '$' and '::'."
            )
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path = Path(config.output) / command / f"{stamp}_{config.name}"
        described: dict[str, Any] = {
            "command": command,
            "config": masked_config(asdict(config)),
            "versions": versions(),
            "commit": commit(),
            "hardware": hardware(config.trainer.accelerator),
            "command_line": command_line(),
            "created": stamp,
        }
        if used := record(asdict(config)):
            described[RECORD] = used
        if launch := launch_id():
            described["launch"] = launch
        with cannot_write(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path.parent)
            hidden = temporary_name(path)
            with naming(path.parent):
                hidden.mkdir()
                try:
                    cls(hidden).write_text(CONFIG, yaml.safe_dump(described, sort_keys=False))
                    return cls(_move_to_new(hidden, path))
                except Exception:
                    shutil.rmtree(hidden, ignore_errors=True)
                    raise

    @classmethod
    def reopen(cls, command: str, folder: str) -> "Run":
        """Return the folder of an earlier run to resume; raise a UserError if it is not of this command."""
        run = cls(Path(folder))
        if not run.path.is_dir():
            raise UserError(f"resume={folder}: there is no such folder; give the folder of an earlier run.")
        described = run.described()
        if described["command"] != command:
            raise UserError(f"resume={folder} is a run of nas.{described['command']}, not of nas.{command}.")
        if run.newest_checkpoint() is None and (run.path / WEIGHTS).exists():
            raise UserError(
                f"resume={folder} has results but no checkpoint in {CHECKPOINTS}/ to resume from; start a new run."
            )
        return run

    def config(self) -> dict[str, Any]:
        """Return the config that the run was started with, as plain values."""
        config: dict[str, Any] = self.described()["config"]
        return config

    def described(self) -> dict[str, Any]:
        """Return the content of `config.yaml`; raise a UserError if it is missing or damaged.

        The config of an earlier version is in the form of this one; see `nas.config.current`.
        """
        checksums.require_intact(self.path, self.path / CONFIG)
        damaged = UserError(f"{self.path / CONFIG} is missing or damaged, so {self.path} is not the folder of a run.")
        try:
            described = yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise damaged from error
        if not isinstance(described, dict) or not isinstance(described.get("config"), dict):
            raise damaged
        if not isinstance(described.get("command"), str):
            raise damaged
        return described | {"config": current(described["command"], described["config"])}

    def differences(self, config: RunConfig, ignored: Collection[str] = NOT_COMPARED) -> list[str]:
        """Return the options that differ between ``config`` and the run's own, each as text for a message.

        Args:
            config: config of this command.
            ignored: options that may differ.
        """
        ours, given = flat(self.config()), flat(masked_config(asdict(config)))
        return [
            f"{key}={given.get(key, 'absent')} (it has {ours.get(key, 'absent')})"
            for key in {**ours, **given}
            if key not in ignored and ours.get(key, "absent") != given.get(key, "absent")
        ]

    def require_same_config(self, config: RunConfig) -> None:
        """Raise a UserError that names the options in which ``config`` differs from the config of the run.

        The amount of work counts too: it is recorded before, so another process has changed it since.
        """
        if different := self.differences(config, NOT_COMPARED - {*AMOUNT}):
            raise UserError(
                f"resume={self.path} was started with another config. Different: {'; '.join(different)}. "
                "Give the options that it was started with, or resume alone."
            )

    def checkpoints(self) -> list[Path]:
        """Return the paths of all checkpoints, that of the latest step first."""
        return sorted((self.path / CHECKPOINTS).glob("step=*.ckpt"), reverse=True)

    def newest_checkpoint(self) -> Path | None:
        """Return the path of the checkpoint of the latest step; None if there is no checkpoint."""
        return next(iter(self.checkpoints()), None)

    def save_checkpoint(self, step: int, write: Callable[[Path], None]) -> None:
        """Save the checkpoint of a step by calling ``write`` with a path, then delete all but the newest `KEPT`."""
        final = subfolder(self.path, CHECKPOINTS) / f"step={step:09d}.ckpt"
        with checksums.recording(self.path, final) as temporary:
            write(temporary)
        for other in [path for path in self.checkpoints() if path < final][KEPT - 1 :]:
            other.unlink()

    def intact_checkpoint(self, unfit: Callable[[dict[str, Any]], str | None]) -> tuple[Path, int] | None:
        """Return the newest checkpoint and its step; None if there is no checkpoint.

        Args:
            unfit: function that returns why the content of a checkpoint cannot be restored; None if it can.

        Raises:
            UserError: the newest checkpoint is damaged. The message names an older one that is intact, if any.
        """
        damage: list[str] = []
        for path in self.checkpoints():
            found = _step_of(self.path, path, unfit)
            if isinstance(found, str):
                damage.append(f"{path} is damaged ({found})")
                continue
            if not damage:
                return path, found
            raise UserError(
                f"{', '.join(damage)}, but {path} is intact; delete the former to continue from step {found}."
            )
        if damage:
            raise UserError(f"{damage[0]}, and no older checkpoint is intact; start a new run.")
        return None

    def set_aside(self, step: int) -> None:
        """Move the results of a run to a folder of their step, since the run is trained for longer."""
        for name in (METRICS, ARCHITECTURE, WEIGHTS, CANDIDATES, REPORT):  # the metrics say that the run is finished
            if (self.path / name).exists():
                os.replace(self.path / name, subfolder(self.path, f"step={step:09d}") / name)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder completely or not at all."""
        with checksums.recording(self.path, self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: object) -> None:
        """Write plain values as JSON; numbers that are not finite become null."""
        self.write_text(name, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


@contextmanager
def opened(name: str, config: RunConfig) -> Iterator[Run]:
    """Yield the locked run folder of a command: a new one, or the one to resume, which must have the same config.

    Options that depend on the machine are resolved here, so that the folder records them and a resumed run keeps them.
    If several processes share a run, the first makes the folder once all are ready. A run that torchrun or SLURM
    restarts resumes by itself.

    Raises:
        UserError: another process writes to the folder, the run has another config, or the disk takes no more files.
    """
    config.trainer.precision = precision_here(config.trainer)
    together()
    folder, config.resume = from_first(lambda: _claimed(name, config))
    run = Run(Path(folder))
    with locked(run.path), saving(run.path):
        if config.resume is not None:
            from_first(lambda: run.require_same_config(config))
        yield run


def _claimed(name: str, config: RunConfig) -> tuple[str, str | None]:
    """Return the path of the run folder, and the path that is resumed or None."""
    resume = config.resume or _of_this_launch(name, config)
    if resume is None:
        return str(Run.create(name, config).path), None
    return str(Run.reopen(name, resume).path), resume


def _of_this_launch(name: str, config: RunConfig) -> str | None:
    """Return the folder in which a restarted launch began this run; None if there is none."""
    if not restarted():
        return None
    for folder in sorted((Path(config.output) / name).glob("*/"), reverse=True):
        with suppress(UserError):
            run = Run.reopen(name, str(folder))
            if run.described().get("launch") == launch_id() and not run.differences(config):
                return str(folder)
    return None


def restored(name: str, folder: str, plugins: Sequence[str], changes: Mapping[str, Any]) -> RunConfig:
    """Return the config that a run was started with.

    Args:
        name: name of its command.
        folder: run folder.
        plugins: option ``plugins``, already loaded, in place of the run's own. If empty, the modules of the run's own
            option are loaded, which executes their code.
        changes: options that are given beside ``resume``. Of these, ``sweep.storage`` is used here: a storage outside
            the run folder must be given again, because the folder may come from somebody else, and a connection would
            send this user's data to any host.
    """
    described = Run.reopen(name, folder).described()
    stored = described["config"]
    if isinstance(sweep := stored.get("sweep"), dict):
        sweep["storage"] = _storage(folder, sweep.get("storage"), changes.get(STORAGE))
    stored["plugins"] = plugins or load(stored.get("plugins", []))
    require(f"resume={folder}", described)
    try:
        config = restore(name, stored)
    except ValueError as error:
        raise UserError(
            f"resume={folder} has a config that this version cannot read: {error} Start a new run."
        ) from error
    config.resume = folder
    return config


def _storage(folder: str, stored: object, given: str | None) -> str | None:
    """Return the storage of a sweep to resume: the given one, or that of the environment, if it had one at its start.

    Raises:
        UserError: the storage is not given, or is given although the study lies in the run folder.
    """
    if stored is None:
        if given is not None:
            raise UserError(f"resume={folder} has its study in its folder; omit {STORAGE}={masked(given)}.")
        return None
    if (storage := given or storage_of_environment()) is None:
        raise UserError(
            f"resume={folder} is a sweep with its study in {masked(str(stored))}; give its storage again: "
            f"resume={folder} {STORAGE}=URL, or the environment variable {VARIABLE}."
        )
    return storage


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of a run; None if it is missing or not JSON.

    Raises:
        UserError: the file does not have the checksum that its run recorded.
    """
    checksums.require_intact(path.parent, path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
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


@contextmanager
def cannot_write(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {error.filename or path}: {reason}. Free disk space or give another folder with "
            "output=FOLDER; files that were complete are kept."
        ) from error


def plain(value: Any) -> Any:
    """Return a value as JSON values: dataclasses become objects, tuples lists, non-finite numbers null, keys text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def command_line() -> str:
    """Return the command line, quoted for a shell, without passwords."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ("python", "-m", spec.name) if spec else _program(sys.argv[0])
    return shlex.join([*program, *masked_arguments(sys.argv[1:])])


def _program(path: str) -> tuple[str, ...]:
    """Return the words that start a script: its name if the shell finds this file by its name, else its path."""
    if path.endswith(".py") or shutil.which(path) is None:
        return ("python", path)
    name = Path(path).name
    return (name,) if shutil.which(name) == shutil.which(path) else (path,)


def _move_to_new(folder: Path, path: Path) -> Path:
    """Rename a folder to ``path``, with a number after the name if the name is taken; return the new path."""
    for number in range(1, 1000):
        candidate = path if number == 1 else path.with_name(f"{path.name}_{number}")
        if os.path.lexists(candidate):
            continue
        with suppress(FileExistsError, NotADirectoryError):
            try:
                os.rename(folder, candidate)
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:  # another process has just made it
                    continue
                raise
            flush(candidate.parent)
            return candidate
    raise UserError(f"{path} and 998 more folders of that name exist; give another name.")


def _remove_abandoned(folder: Path) -> None:
    """Remove run folders that a killed process had not finished making an hour ago."""
    for hidden in folder.glob(f".*{PART}"):
        with suppress(OSError):
            if hidden.is_dir() and not hidden.is_symlink() and time.time() - hidden.stat().st_mtime > 3600:
                shutil.rmtree(hidden)
