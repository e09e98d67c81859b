"""An evaluation of a finished run: at several shares, or on suites of tasks."""

from pathlib import Path

from rich.console import Console

from nas.config import EvaluateConfig
from nas.console import say
from nas.errors import INTERRUPTED, UserError
from nas.results.opened import open_trained
from nas.runs.folder import cannot_write
from nas.shares.curve import evaluate_shares
from nas.suites.run import run_suites

FOLDER = "evaluation"
"""Folder of the results in the folder of the run."""


def evaluate(config: EvaluateConfig, console: Console) -> int:
    """Run the command and return its exit status."""
    assert config.run is not None
    _check(config)
    opened = open_trained("run", config.run, config.device)
    output = opened.run.path / FOLDER if config.output is None else Path(config.output)
    with cannot_write(output):
        output.mkdir(parents=True, exist_ok=True)
    try:
        if config.share is not None:
            evaluate_shares(opened, config, output, console)
        if config.suite is not None:
            run_suites(opened, config.suite, config.suites, output, console)
    except KeyboardInterrupt:
        say(console, "Stopped. The same command continues; what was measured is kept.")
        return INTERRUPTED
    return 0


def _check(config: EvaluateConfig) -> None:
    """Raise a UserError if an option has no value, or no effect."""
    for option in ("share", "suite"):
        if getattr(config, option) == []:
            raise UserError(f"{option}=[] is empty; give at least one, or omit {option}.")
    if config.share is None and config.beside:
        raise UserError(f"beside={config.beside} has no effect without share; give share, as in share=[0.05,0.1].")
