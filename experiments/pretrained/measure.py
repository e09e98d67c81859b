"""Measure the model of a search, or the original that it started from: what the metrics of the run do not have.

    python -m experiments.pretrained.measure RUN OUTPUT --lengths 1024 2048 --tasks single_1

These are the divergence KL(original, model) on the validation batches, bits per byte and needles at several lengths
(the suites `text` and `ruler` of nas.evaluate), and the time of a prompt and of a decoded token. Both are timed on
random tokens, of which routers keep the shares that they keep of the validation batches.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from experiments.runs import machine, status_of
from nas.comparisons.metrics_file import shares_at
from nas.config import CONF, EvaluateConfig, register
from nas.data.seeding import generator
from nas.errors import UserError
from nas.evaluation.latency import decode_seconds_per_token, prefill_seconds_per_token
from nas.files.saving import replacing
from nas.models.language_model import LanguageModel
from nas.models.policies import at_random
from nas.models.routing import first_alone
from nas.options.suites import SuitesConfig
from nas.pretrained.original import load_original
from nas.results.opened import OpenedRun, open_trained
from nas.suites.run import run_suites
from nas.training.step.distillation import divergence

MEASURED = "measured.json"
REPEATS = 3
"""Timed repetitions; the median counts."""


@dataclass(frozen=True)
class Measured:
    """Figures of a model.

    Attributes:
        kl: divergence KL(original, model) of a token, in nats.
        bits: bits per byte by length of the sequences in tokens.
        needles: mean score of the tasks of RULER by length.
        prefill_ms: milliseconds of a prompt of ``context`` tokens.
        decode_ms: milliseconds of a decoded token after ``context`` tokens.
        context: number of these tokens.
        machine: what was timed on.
    """

    kl: float
    bits: dict[str, float]
    needles: dict[str, float]
    prefill_ms: float
    decode_ms: float
    context: int
    machine: str


@torch.no_grad()
def divergence_of(opened: OpenedRun, original: LanguageModel) -> float:
    """Return the mean divergence KL(original, model) over the scored tokens of the validation batches, in nats."""
    total, count = 0.0, 0
    with opened.autocast():
        for batch in opened.task.validation_batches():
            tokens, places, targets, documents = batch.scored().on(opened.device)
            made = opened.trained(tokens, opened.policy, places, documents=documents).logits.flatten(0, -2)
            taught = original(tokens, first_alone, places, documents=documents).logits.flatten(0, -2)
            total += divergence(made, taught).double().sum().item()
            count += targets.numel()
    return total / count


def measure(run: Path, output: Path, given: argparse.Namespace) -> Measured:
    """Return the figures of the model of a run, or of its original.

    Args:
        run: run folder of a search from a pretrained model, with weights.
        output: folder of the results of the suites.
        given: lengths, tasks and samples of the suites, and the context of the times.

    Raises:
        UserError: the run has no weights, or its original is missing.
    """
    opened = open_trained("run", str(run))
    path = opened.config.model.path
    if path is None:
        raise UserError(f"run={run} did not start from a pretrained model; give a run with model=pretrained.")
    original = load_original(opened.trained.architecture, path).to(opened.device)
    if given.original:
        opened = opened._replace(model=original)
    results = run_suites(opened, ["text", "ruler"], _suites(given), output, Console(quiet=True))
    needles: dict[str, list[float]] = {}
    for one in results.get("ruler", ()):
        needles.setdefault(str(one.length), []).append(one.scores["score"].value)
    prefill, decode = _seconds(opened, given.context)
    return Measured(
        kl=0.0 if given.original else divergence_of(opened, original),
        bits={str(one.length): one.scores["bits per byte"].value for one in results.get("text", ())},
        needles={length: sum(scores) / len(scores) for length, scores in needles.items()},
        prefill_ms=1e3 * given.context * prefill,
        decode_ms=1e3 * decode,
        context=given.context,
        machine=machine(),
    )


def _seconds(opened: OpenedRun, context: int) -> tuple[float, float]:
    """Return the seconds of a token of a prompt, and those of a decoded token after it, of one sequence."""
    config, model = opened.config, opened.trained
    assert opened.metrics is not None
    precision = config.trainer.precision if opened.device.type == "cuda" else "32-true"
    shares = shares_at(opened.metrics.learnt, config.data.length, context)
    policy = at_random(shares, generator(config.seed, "timing"))
    return (
        prefill_seconds_per_token(model, context, policy=policy, precision=precision, repeats=REPEATS),
        decode_seconds_per_token(model, context, policy=policy, precision=precision, repeats=REPEATS),
    )


def _suites(given: argparse.Namespace) -> SuitesConfig:
    """Return the options of the suites, those of nas.evaluate with the given lengths, tasks and samples."""
    register()
    own = [f"suites.lengths={given.lengths}", f"suites.samples={given.samples}", f"suites.ruler.tasks={given.tasks}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_object(compose("evaluate", ["run=given", *(one.replace("'", "") for one in own)]))
    assert isinstance(config, EvaluateConfig)
    return config.suites


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.pretrained.measure", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("run", type=Path, help="run folder of a search")
    parser.add_argument("output", type=Path, help=f"folder of {MEASURED}")
    parser.add_argument("--original", action="store_true", help="measure the pretrained model itself")
    parser.add_argument("--lengths", type=int, nargs="+", required=True, help="tokens of the sequences of the suites")
    parser.add_argument("--tasks", nargs="+", default=["single_1"], help="tasks of RULER (default: single_1)")
    parser.add_argument("--samples", type=int, default=32, help="sequences of each length, prompts of each task")
    parser.add_argument("--context", type=int, default=32768, help="tokens after which decoding is timed")
    return status_of(partial(_write, parser.parse_args(arguments)))


def _write(given: argparse.Namespace) -> None:
    """Measure, and write the figures."""
    given.output.mkdir(parents=True, exist_ok=True)
    found = measure(given.run, given.output, given)
    with replacing(given.output / MEASURED) as temporary:
        temporary.write_text(json.dumps(vars(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
