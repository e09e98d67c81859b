"""Time training steps of the tiny model under each mixer, in turn in one process, and print the ratios.

    python -m experiments.step_cost

A step is forward, backward, clipping and AdamW on 16 x 256 tokens of the recall task. Each round times one step of
each model; the table has medians over rounds, and medians of the ratios within a round.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from experiments.tables import markdown
from nas.architecture import MIXERS, Layer, Mixer
from nas.config import SearchConfig, register
from nas.data import build_task
from nas.evaluation import token_losses
from nas.models.language_model import LanguageModel
from nas.relaxations import argmax_ste


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.step_cost", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="timed steps of each model (default: 50)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "cpu.md", help="where to write the table")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    register()
    with initialize_config_module("conf", version_base="1.3"):
        config: SearchConfig = OmegaConf.to_object(compose("search", ["+space=token_hybrid"]))  # type: ignore[assignment]
    steps = {mixer: _step(mixer, config) for mixer in MIXERS}  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {mixer: [] for mixer in MIXERS}
    for round_ in range(given.rounds + 5):
        for mixer, step in steps.items():
            started = time.perf_counter()
            step()
            if round_ >= 5:
                seconds[mixer].append(time.perf_counter() - started)
    table = markdown([_row(mixer, seconds) for mixer in MIXERS])
    note = f"\n{given.rounds} rounds, {given.threads} threads, torch {torch.__version__}, {platform.machine()}.\n"
    given.table.write_text(table + note)
    print(table + note)


def _step(mixer: Mixer, config: SearchConfig) -> Callable[[], None]:
    """One training step of the config's model with ``mixer`` in every layer, always on the same full-length batch."""
    task = build_task(config.data, seed=0)
    torch.manual_seed(0)
    layers = [Layer(mixer, config.model.chunk_size)] * config.model.layers
    model = LanguageModel(config.model.architecture(layers, task.vocab_size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens, places, targets = task.validation_batches()[0].scored()

    def step() -> None:
        output = model(tokens, lambda layer, logits: argmax_ste(logits, 1.0), places)
        token_losses(output.logits, targets).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _row(mixer: str, seconds: dict[str, list[float]]) -> dict[str, str]:
    ratios = [own / softmax for own, softmax in zip(seconds[mixer], seconds["softmax"], strict=True)]
    return {
        "mixer": mixer,
        "step ms": f"{1e3 * statistics.median(seconds[mixer]):.1f}",
        "times softmax": f"{statistics.median(ratios):.2f}",
    }


if __name__ == "__main__":
    main()
