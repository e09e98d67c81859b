"""The run folder: what a run leaves behind, how it is written and how it is read again.

Every file is written beside its final name and then moved over it, so that a kill or a full disk leaves the old one.
Reading executes nothing: YAML and JSON are data, checkpoints are loaded with ``weights_only``, weights are safetensors.
Only the command that resumes a run imports the modules that the run's option ``plugins`` names.
"""

import json
import math
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_model, save
from torch import nn

from nas.config import RunConfig, flat, restore
from nas.distributed.devices import precision_here
from nas.distributed.launch import launch_id, restarted
from nas.distributed.rendezvous import from_first, together
from nas.errors import UserError
from nas.plugins.loading import load
from nas.plugins.record import RECORD, record, require
from nas.runs.options import AMOUNT, CODE, FOLDER, PROCESSES
from nas.runs.versions import commit, versions
from nas.search_spaces.architecture import Architecture

CONFIG, ARCHITECTURE, WEIGHTS = "config.yaml", "architecture.json", "model.safetensors"
METRICS, REPORT, CHECKPOINTS, TENSORBOARD = "metrics.json", "report.html", "checkpoints", "tensorboard"
CANDIDATES = "candidates.json"
NOT_COMPARED = {*FOLDER, *PROCESSES, *AMOUNT, *CODE, "sweep.search"}
"""Options that may differ between a run and its resumption: at most they change how much is computed, and rounding."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; moved over ``path`` when the block ends well."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Run:
    """One run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, command: str, config: RunConfig) -> "Run":
        """A new folder ``output/command/date_time_name`` holding the config; UserError where it cannot be written."""
        if os.sep in config.name or not config.name.strip():
            raise UserError(f"name={config.name!r} cannot be part of a folder's name; give a word without {os.sep!r}.")
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path = Path(config.output) / command / f"{stamp}_{config.name}"
        with cannot_write(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path = _make_new(path)
            run = cls(path)
            described: dict[str, Any] = {
                "command": command,
                "config": asdict(config),
                "versions": versions(),
                "commit": commit(),
                "created": stamp,
            }
            if used := record(asdict(config)):
                described[RECORD] = used
            if launch := launch_id():
                described["launch"] = launch
            run.write_text(CONFIG, yaml.safe_dump(described, sort_keys=False))
        return run

    @classmethod
    def reopen(cls, command: str, folder: str) -> "Run":
        """The folder of an earlier run of this command, to go on with; UserError where it is not one."""
        run = cls(Path(folder))
        if not run.path.is_dir():
            raise UserError(f"resume={folder}: there is no such folder; give the folder of an earlier run.")
        described = run.described()
        if described["command"] != command:
            raise UserError(f"resume={folder} is a run of nas.{described['command']}, not of nas.{command}.")
        if run.newest_checkpoint() is None and (run.path / WEIGHTS).exists():
            raise UserError(
                f"resume={folder} has results and no checkpoint in {CHECKPOINTS}/ to go on from; start anew."
            )
        return run

    def config(self) -> dict[str, Any]:
        """The config this run was started with, as plain values."""
        config: dict[str, Any] = self.described()["config"]
        return config

    def described(self) -> dict[str, Any]:
        """What `config.yaml` tells; UserError where it is missing or damaged."""
        damaged = UserError(f"{self.path / CONFIG} is missing or damaged, so {self.path} is not the folder of a run.")
        try:
            described = yaml.safe_load((self.path / CONFIG).read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise damaged from error
        if not isinstance(described, dict) or not isinstance(described.get("config"), dict):
            raise damaged
        if not isinstance(described.get("command"), str):
            raise damaged
        return described

    def differences(self, config: RunConfig) -> list[str]:
        """The options in which ``config`` differs from the one this run was started with, as sentences name them."""
        ours, given = flat(self.config()), flat(asdict(config))
        return [
            f"{key}={given.get(key, 'absent')} (it has {ours.get(key, 'absent')})"
            for key in {**ours, **given}
            if key not in NOT_COMPARED and ours.get(key, "absent") != given.get(key, "absent")
        ]

    def require_same_config(self, config: RunConfig) -> None:
        """UserError naming the options in which ``config`` differs from the one this run was started with."""
        if different := self.differences(config):
            raise UserError(
                f"resume={self.path} was started with another config. Different: {'; '.join(different)}. "
                "Give the options it was started with, or none but resume."
            )

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint of the latest step."""
        return max((self.path / CHECKPOINTS).glob("step=*.ckpt"), default=None)

    def save_checkpoint(self, step: int, write: Callable[[Path], None]) -> None:
        """Let ``write`` make the checkpoint of a step, then drop older ones."""
        final = self.path / CHECKPOINTS / f"step={step:09d}.ckpt"
        final.parent.mkdir(exist_ok=True)
        with replacing(final) as temporary:
            write(temporary)
        for other in (self.path / CHECKPOINTS).glob("step=*.ckpt"):
            if other < final:
                other.unlink()

    def write_text(self, name: str, text: str) -> None:
        """Write one file of the folder as a whole or not at all."""
        with replacing(self.path / name) as temporary:
            temporary.write_text(text)

    def write_json(self, name: str, value: object) -> None:
        """Write plain values as JSON; numbers that are not finite become null."""
        self.write_text(name, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")

    def write_weights(self, model: nn.Module) -> None:
        """Write a model's weights as safetensors."""
        with replacing(self.path / WEIGHTS) as temporary:
            temporary.write_bytes(save({name: weight.detach().cpu().contiguous() for name, weight in _weights(model)}))


def start(name: str, config: RunConfig) -> Run:
    """The run folder: a new one, or the one to resume, which must have been started with the same config.

    What the config leaves to the machine is settled here, so that the folder tells it and a resumed run keeps it. Where
    several processes share a run, the first makes the folder once all are ready. A run that torchrun or SLURM starts
    again resumes by itself.
    """
    config.trainer.precision = precision_here(config.trainer)
    together()
    folder, config.resume = from_first(lambda: _claimed(name, config))
    return Run(Path(folder))


def _claimed(name: str, config: RunConfig) -> tuple[str, str | None]:
    """The run folder, and the folder that is resumed if one is."""
    resume = config.resume or _of_this_launch(name, config)
    if resume is None:
        return str(Run.create(name, config).path), None
    run = Run.reopen(name, resume)
    run.require_same_config(config)
    return str(run.path), resume


def _of_this_launch(name: str, config: RunConfig) -> str | None:
    """The folder in which a launch that was started again had begun this run."""
    if not restarted():
        return None
    for folder in sorted((Path(config.output) / name).glob("*/"), reverse=True):
        with suppress(UserError):
            run = Run.reopen(name, str(folder))
            if run.described().get("launch") == launch_id() and not run.differences(config):
                return str(folder)
    return None


def restored(name: str, folder: str, plugins: Sequence[str]) -> RunConfig:
    """The config that a run was started with.

    Args:
        name: of its command.
        folder: of the run.
        plugins: option ``plugins``, already loaded, in place of that of the run; empty to load that of the run, which
            executes the code of these modules.
    """
    described = Run.reopen(name, folder).described()
    stored = described["config"]
    stored["plugins"] = plugins or load(stored.get("plugins", []))
    require(f"resume={folder}", described)
    try:
        config = restore(name, stored)
    except ValueError as error:
        raise UserError(f"resume={folder} has a config that is none of this version: {error} Start anew.") from error
    config.resume = folder
    return config


def read_json(path: Path) -> Any:
    """Plain values that a run wrote; None where the file is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def load_architecture(path: Path) -> Architecture:
    """The architecture of an `architecture.json`, as a run writes it; UserError where there is none."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"architecture={path} cannot be read ({error}); give the {ARCHITECTURE} of a run.") from error
    try:
        found = json.loads(text)
        return Architecture.from_dict(found.get("architecture", found) if isinstance(found, dict) else found)
    except ValueError as error:
        raise UserError(f"architecture={path} is not an architecture: {error}") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights that `Run.write_weights` wrote for the same architecture; UserError where they do not fit."""
    try:
        load_model(model, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of this architecture: {error}") from error


def check_checkpoint(path: Path) -> int:
    """The step of a checkpoint that can be loaded; UserError where it is damaged."""
    try:
        with warnings.catch_warnings(action="ignore"):
            step: int = torch.load(path, map_location="cpu", weights_only=True)["global_step"]
    except Exception as error:  # a damaged file can fail in as many ways as there are formats inside it
        raise UserError(
            f"{path} is damaged and cannot be resumed from ({type(error).__name__}); start anew."
        ) from error
    return step


@contextmanager
def cannot_write(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a UserError that names the place."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {error.filename or path}: {reason}. Make room or give another place with output=FOLDER; "
            "what was written before is kept."
        ) from error


def plain(value: Any) -> Any:
    """Dataclasses, tuples and numbers that are not finite as JSON has them: objects, lists and null; keys as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def command_line() -> str:
    """Return the command as the user could type it again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return shlex.join([*(("python", "-m", spec.name) if spec else _program(sys.argv[0])), *sys.argv[1:]])


def _program(path: str) -> tuple[str, ...]:
    """Return the words that start a script: its name if the shell finds the same file by it, else its path."""
    if path.endswith(".py") or shutil.which(path) is None:
        return ("python", path)
    name = Path(path).name
    return (name,) if shutil.which(name) == shutil.which(path) else (path,)


def _make_new(path: Path) -> Path:
    """Make the folder, with a number behind its name where another run has it already."""
    for number in range(1, 1000):
        candidate = path if number == 1 else path.with_name(f"{path.name}_{number}")
        with suppress(FileExistsError):
            candidate.mkdir()
            return candidate
    raise UserError(f"{path} and 998 more of that name exist; give another name=.")


def _weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Each weight once: a tied one under its first name."""
    seen: set[int] = set()
    for name, weight in model.state_dict(keep_vars=True).items():
        if id(weight) not in seen:
            seen.add(id(weight))
            yield name, weight
