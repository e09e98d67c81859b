"""Time training steps of the tiny model: each mixer, and supernets against their most expensive architecture.

    python -m experiments.step_cost
    python -m experiments.step_cost --device cuda

A step is forward, backward, clipping and AdamW on 16 x 256 tokens of the recall task. All are timed in turn in one
process, a step of each per round. The tables show medians over rounds, and medians of the ratios within a round.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from nas import search_spaces
from nas.budget.build import budgeted_cost
from nas.config import CONF, SearchConfig, register
from nas.data import build_task
from nas.evaluation.metrics import token_losses
from nas.models.language_model import LanguageModel
from nas.relaxations import RELAXATIONS, argmax_ste
from nas.report.units import markdown
from nas.search_spaces.operations import names
from nas.search_spaces.space import Space, option_name
from nas.supernet.architecture_logits import ArchitectureLogits

SPACES = {
    "softmax or linear": ("+space=layer_hybrid", "space.operations=[softmax,linear]"),
    "layer_hybrid": ("+space=layer_hybrid",),
    "chunk_size": ("+space=chunk_size", "model.layers=4"),
    "joint": ("+space=joint",),
}
WARM_UPS = 5
Step = Callable[[], None]


def main() -> None:
    """Run the study: measure, print and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.step_cost", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="timed steps of each model (default: 30)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--spaces", nargs="*", choices=list(SPACES), default=list(SPACES), help="(default: all)")
    parser.add_argument("--table", type=Path, default=None, help="where to write the tables (default: DEVICE.md here)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tables = [_mixers(given.rounds, given.device)]
    for name in given.spaces:
        tables.append(
            f"Supernet over {name}, 4 layers, against its most expensive architecture:\n\n{_space(name, given)}"
        )
    machine = platform.machine() if given.device == "cpu" else torch.cuda.get_device_name()
    note = f"{given.rounds} rounds, {given.threads} threads, torch {torch.__version__}, {machine}.\n"
    text = "\n".join([*tables, note])
    (given.table or Path(__file__).parent / f"{given.device}.md").write_text(text, encoding="utf-8")
    print(text)


def _mixers(rounds: int, device: str) -> str:
    """Tabulate each mixer, used in every layer of the default search."""
    config = _config("+space=token_hybrid")
    sizes = search_spaces.build(config.space, config.model, build_task(config.data, 0).vocab_size).sizes
    steps = {mixer: _step(Space.of(sizes.with_mixer(mixer)), config, "argmax_ste", device) for mixer in names()}
    seconds = _timed(steps, rounds)
    return markdown(
        [
            {
                "mixer": mixer,
                "step ms": _milliseconds(seconds[mixer]),
                "times softmax": _ratio(seconds, mixer, "softmax"),
            }
            for mixer in names()
        ]
    )


def _space(name: str, given: argparse.Namespace) -> str:
    """Tabulate each relaxation against the most expensive option, used in every layer."""
    config = _config(*SPACES[name])
    space = search_spaces.build(config.space, config.model, build_task(config.data, 0).vocab_size)
    options = max(space.options, key=len)
    children = {
        option_name(option): _step(
            Space.of(space.sizes.with_layers([option] * len(space.options))), config, "", given.device
        )
        for option in options
    }
    supernets = {name: _step(space, config, name, given.device) for name in RELAXATIONS}
    supernets["gumbel, pairs"] = _step(space, config, "gumbel", given.device, pairs=True)
    seconds = _timed(children | supernets, given.rounds)
    most = max(children, key=lambda child: statistics.median(seconds[child]))
    return markdown(
        [
            {
                "relaxation": name,
                "step ms": _milliseconds(seconds[name]),
                "most expensive": f"{most}, {_milliseconds(seconds[most])} ms",
                "ratio": _ratio(seconds, name, most),
            }
            for name in supernets
        ]
    )


def _config(*options: str) -> SearchConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: SearchConfig = OmegaConf.to_object(compose("search", list(options)))  # type: ignore[assignment]
    return config


def _step(space: Space, config: SearchConfig, relaxation: str, device: str, pairs: bool = False) -> Step:
    """Return one training step over a space, always on the same full-length batch."""
    task = build_task(config.data, seed=0)
    torch.manual_seed(0)
    model = LanguageModel(space.sizes, options=space.options).to(device)
    architecture_logits, cost = ArchitectureLogits(space).to(device), budgeted_cost(config.budget, space)
    parameters = [*model.parameters(), *architecture_logits.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    tokens, places, targets = (x.to(device) for x in task.validation_batches()[0].scored().tensors if x is not None)

    def routed(layer: int, logits: Tensor) -> Tensor:
        return argmax_ste(logits, 1.0)

    def step() -> None:
        output = model(tokens, routed, places, architecture_logits.layer_choices(relaxation, 1.0, pairs))
        loss = token_losses(output.logits, targets).mean()
        if space.routed or space.choosing:
            loss = loss + 0.1 * architecture_logits.cost(cost, architecture_logits.measured(output.routing))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def _timed(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, after the warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + WARM_UPS):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if round_ >= WARM_UPS:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _milliseconds(seconds: list[float]) -> str:
    return f"{1e3 * statistics.median(seconds):.1f}"


def _ratio(seconds: dict[str, list[float]], one: str, other: str) -> str:
    return f"{statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True)):.2f}"


if __name__ == "__main__":
    main()
