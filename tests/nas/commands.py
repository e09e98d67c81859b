"""Commands as a user runs them, on models so small that a run takes a second."""

import functools
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from nas.config import CONF, register
from tests.nas.composed_once import composed_once

ROOT = Path(__file__).parents[2]
MODEL = ("model.width=16", "model.key_dim=8", "model.value_dim=8", "model.mlp_width=16", "model.chunk_size=8")
DATA = (
    *("data.length=64", "data.min_length=32", "data.pairs=4", "data.min_pairs=2", "data.queries=4"),
    *("data.keys=8", "data.values=8", "data.noise=8"),
)
TRAINER = (
    *("trainer.steps=6", "trainer.log_every=1", "trainer.validate_every=3", "trainer.checkpoint_every=2"),
    *("trainer.warmup_steps=1", "trainer.accelerator=cpu", "trainer.router_learning_rate=0.1", "budget.dense_until=0"),
)
BATCHES = ("data.batch_size=2", "data.validation_batches=2", "data.length_factors=[1,2]")
SMALL = (*MODEL, *DATA, *BATCHES, *TRAINER)
"""Options of a run on recall that is as small as can be: six steps, a checkpoint every second one."""
SEARCH = ("+space=token_hybrid", *SMALL)
SHORT = ("trainer.steps=2", "data.length_factors=[1]", "data.validation_batches=1")
"""After these options: a run of two steps, measured on one batch."""
CALIBRATION_BATCHES = 8
"""Batches on which a command of the tests calibrates thresholds: with 64 they take a quarter of a small search."""


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def run(self) -> Path:
        """The run folder it told of."""
        told = next(line for line in self.out.splitlines() if "run folder " in line)
        return Path(told.split("run folder ")[1])


def nas(command: str, *options: str) -> Ended:
    """Run ``python -m nas.<command>`` in this process: the same, without the seconds that imports take."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with _environment(command, options), redirect_stdout(out), redirect_stderr(err):
        try:
            import_module(f"nas.{command}").main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


@contextmanager
def _environment(command: str, options: tuple[str, ...]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as kept:
        patch.setattr(sys, "argv", [f"nas/{command}.py", *options])
        patch.setenv("HYDRA_FULL_ERROR", "")  # a command sets it: put back what was there
        if not any(option.startswith(("-", "hydra.", "+hydra.")) for option in options):
            patch.setattr(Hydra, "get_mode", lambda *_, **__: RunMode.RUN)  # else read from the config, composed twice
            kept.enter_context(composed_once())
        patch.setattr("omegaconf._utils.get_yaml_loader", _yaml_loader)
        patch.setattr("nas.supernet.discretised.CALIBRATION_BATCHES", CALIBRATION_BATCHES)
        yield


@functools.cache
def _yaml_loader() -> Any:
    """OmegaConf's loader of YAML files, on the parser in C."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return get_yaml_loader()


def refusal(command: str, *options: str) -> str:
    """The one message with which a command refuses its options."""
    ended = nas(command, *options)
    assert ended.status == 1
    assert ended.err.startswith("error: "), ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("\n") == 1
    return ended.err


def composed(command: str, *options: str) -> Any:
    """The config that a command has with these options."""
    register()
    with composed_once(), initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_object(compose(command, list(options)))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path inside."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
