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
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nas.config import RunConfig, current, flat
from nas.distributed.launch import launch_id
from nas.errors import UserError
from nas.files import checksums
from nas.files.saving import PART, flush, naming, subfolder, temporary_name
from nas.plugins.record import RECORD, record
from nas.runs.options import AMOUNT, CODE, FOLDER, LOGGING, PROCESSES
from nas.runs.paths import SPECIAL
from nas.runs.secrets import STORAGE, masked_arguments, masked_config
from nas.runs.versions import commit, hardware, versions

T = TypeVar("T")

CONFIG, ARCHITECTURE, WEIGHTS = "config.yaml", "architecture.json", "model.safetensors"
METRICS, REPORT, CHECKPOINTS, TENSORBOARD = "metrics.json", "report.html", "checkpoints", "tensorboard"
CANDIDATES = "candidates.json"
ALONE = "candidates"
"""Folder with a run folder for each architecture that a search trains alone, until it is selected."""
ALIGNMENT, HEALING = "alignment", "healing"
"""Folders of the stages before and after the training of a search."""
NOT_COMPARED = {*FOLDER, *PROCESSES, *AMOUNT, *CODE, *LOGGING, "sweep.search", STORAGE}
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
            described = from_yaml((self.path / CONFIG).read_text(encoding="utf-8"))
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

    def set_aside(self, step: int) -> None:
        """Move the results of a run to a folder of their step, since the run is trained for longer."""
        results = (METRICS, ARCHITECTURE, WEIGHTS, CANDIDATES, REPORT, HEALING)
        for name in results:  # first the metrics, which say that the run is finished
            if (self.path / name).exists():
                os.replace(self.path / name, subfolder(self.path, f"step={step:09d}") / name)

    def stored(self, name: str, read: Callable[[Any], T], remedy: str) -> T | None:
        """Return what ``read`` makes of the content of a JSON file of the folder; None if there is no such file.

        Args:
            name: name of the file.
            read: function from the content; a ValueError, TypeError or KeyError means that the file is damaged.
            remedy: what deleting the file leads to, for the message: "to score its candidates again".

        Raises:
            UserError: the file is damaged.
        """
        path = self.path / name
        checksums.require_intact(self.path, path)
        if not path.exists():
            return None
        try:
            return read(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is damaged; delete it {remedy}.") from error

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder completely or not at all."""
        with checksums.recording(self.path, self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: object) -> None:
        """Write plain values as JSON; numbers that are not finite become null."""
        self.write_text(name, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


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


def from_yaml(text: str | bytes) -> Any:
    """Return the values in a YAML text, by the parser in C where PyYAML has one, which takes a tenth of the time.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


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
