"""Time training steps of every kind of search, and the scoring of candidates, in this process.

    python -m experiments.gpu_search.spaces
    python -m experiments.gpu_search.spaces --only token_hybrid "joint, pairs" --steps 400
    python -m experiments.gpu_search.spaces --profile

The searches have the sizes of `experiments.token_vs_hand`: four layers of width 128, 32 sequences of 512 tokens. Each
is trained one after the other by the loop that the commands use, with routing from the first step and without
validations and checkpoints. Tokens a second are the median over intervals of ten steps, as in `metrics.json`, but of
the second half of the intervals: the first half has most steps that compile kernels or record graphs. With
`--profile`, further steps of each search are profiled, with CUDA graphs for the time in which the GPU is idle, and
without for the kinds of kernels.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import lightning
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.gpu_search.watch import PROFILED, Profiles, Watch, profiled_without_graphs, second_half, tables
from experiments.runs import machine
from nas import search_spaces
from nas.config import CONF, RandomConfig, SearchConfig, register
from nas.data import build_task
from nas.distributed.strategies import engine
from nas.report.units import markdown
from nas.searchers.select import measure
from nas.training.batches import TrainingStream
from nas.training.module import TrainingModule
from nas.training.throughput import Throughput

SIZES = (
    *("model.layers=4", "model.width=128", "model.key_dim=64", "model.value_dim=64", "model.mlp_width=256"),
    *("data.length=512", "data.min_length=512", "data.batch_size=32", "trainer.log_every=10"),
)
BASE = "token_hybrid"
SEARCHES: dict[str, tuple[str, ...]] = {
    BASE: ("+space=token_hybrid",),
    "joint, pairs": ("+space=joint", "searcher=pairs"),
    "joint, gdas": ("+space=joint", "searcher=gradient", "relaxation=gdas"),
    "joint, evolution": ("+space=joint", "searcher=evolution"),
    "layer_hybrid": ("+space=layer_hybrid",),
    "layer_hybrid, pairs": ("+space=layer_hybrid", "searcher=pairs"),
    "layer_hybrid, gdas": ("+space=layer_hybrid", "relaxation=gdas"),
    "layer_hybrid, evolution": ("+space=layer_hybrid", "searcher=evolution"),
    "chunk_size": ("+space=chunk_size",),
    f"{BASE}, again": ("+space=token_hybrid",),
}
CANDIDATES = 24
"""Number of candidates to score, half of them before the clock starts: they record graphs."""


class Timed(NamedTuple):
    """Speed of a search.

    Attributes:
        tokens_per_second: training tokens a second, the median over the second half of the intervals.
        over_all: the median over all intervals.
        recordings: number of recorded CUDA graphs of steps or of parts of steps.
        last_recording: number of steps after which nothing was recorded.
        recording_seconds: time of the steps that recorded something; compilation is in it.
        tokens: tokens of a step.
        candidate_seconds: time in which a searcher scores a candidate; None without a searcher.
        candidate_tokens: tokens on which it is scored.
        seconds: time for all of it, with compilation and recording.
        profiles: profiles of further steps, if wanted.
    """

    tokens_per_second: float
    over_all: float
    recordings: int
    last_recording: int
    recording_seconds: float
    tokens: int
    candidate_seconds: float | None
    candidate_tokens: int
    seconds: float
    profiles: Profiles | None = None

    @property
    def milliseconds(self) -> float:
        """Time of a step."""
        return 1e3 * self.tokens / self.tokens_per_second


def main() -> None:
    """Run the study: time each search, print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu_search.spaces", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(SEARCHES), default=list(SEARCHES), help="(default: all)")
    parser.add_argument("--steps", type=int, default=400, help="training steps of each search (default: 400)")
    parser.add_argument(
        "--chunk-sizes",
        type=int,
        nargs="+",
        default=None,
        help="of joint and chunk_size (default: those of the spaces)",
    )
    parser.add_argument("--profile", action="store_true", help="profile further steps of each search")
    parser.add_argument("--accelerator", default="gpu", help="gpu or cpu (default: gpu)")
    parser.add_argument(
        "--table", type=Path, default=Path(__file__).parent / "spaces.md", help="where to write the table"
    )
    parser.add_argument("overrides", nargs="*", help="options for every search, for example model.layers=2")
    given = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common = (*SIZES, f"trainer.steps={given.steps}", f"trainer.accelerator={given.accelerator}", *given.overrides)
    timed: dict[str, Timed] = {}
    for name in given.only:
        chunks = () if given.chunk_sizes is None else (f"space.chunk_sizes={given.chunk_sizes}",)
        several = name.startswith(("joint", "chunk_size"))
        config = _config(*SEARCHES[name], *common, *(chunks if several else ()))
        timed[name] = time_search(config, given.profile)
        print(f"{name}: {timed[name]._replace(profiles=None)}", flush=True)
    text = f"{_table(timed)}\n{machine()}; {given.steps} steps of each search.\n"
    profiles = {name: one.profiles for name, one in timed.items() if one.profiles is not None}
    if profiles:
        text += "\n" + tables(profiles, {name: one.milliseconds for name, one in timed.items()})
    given.table.write_text(text, encoding="utf-8")
    print(text)


def time_search(config: SearchConfig, profiled: bool = False) -> Timed:
    """Train the supernet of a search, then score candidates if the search has a searcher."""
    timed = config.trainer.steps
    config.trainer.steps += PROFILED if profiled else 0
    started = time.perf_counter()
    task = build_task(config.data, config.seed)
    module = TrainingModule(search_spaces.build(config.space, config.model, task.vocab_size), task, config)
    module.budget.begin_in_time(progress=1.0)
    throughput, watch, steps = Throughput(), Watch(timed if profiled else None), config.trainer.steps
    trainer = lightning.Trainer(
        max_steps=steps,
        **engine(config.trainer),
        gradient_clip_val=config.trainer.gradient_clip,
        callbacks=[throughput, watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = TrainingStream(task, 0, steps, config.trainer.bilevel).loader(config.trainer.accelerator == "gpu")
    trainer.fit(module, loader)
    module.to(trainer.strategy.root_device)
    rates = throughput.rates[: timed // config.trainer.log_every]
    seconds, tokens = _scored(module, config.searcher) if isinstance(config.searcher, RandomConfig) else (None, 0)
    took = time.perf_counter() - started
    return Timed(
        tokens_per_second=second_half(rates),
        over_all=statistics.median(rates),
        recordings=watch.recordings,
        last_recording=watch.last,
        recording_seconds=watch.seconds,
        tokens=throughput.tokens // steps,
        candidate_seconds=seconds,
        candidate_tokens=tokens,
        seconds=took,
        profiles=None if watch.profile is None else Profiles(watch.profile, profiled_without_graphs(module)),
    )


def _scored(module: TrainingModule, searcher: RandomConfig) -> tuple[float, int]:
    """Return the median time in which a random candidate is scored, and the number of tokens on which it is."""
    random, seconds = Random(0), []
    module.model.eval()
    with module.autocast():
        batches = module.task.selection_batches(searcher.batches)
        run = module.recorded.scoring_run(module.step, batches[0].tokens.to(module.device))
        for _ in range(CANDIDATES):
            code = module.space.encode(module.space.sample(random))
            seconds.append(measure(module, code, batches, run).seconds)
    return statistics.median(seconds[CANDIDATES // 2 :]), sum(batch.tokens.numel() for batch in batches)


def _config(*options: str) -> SearchConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: SearchConfig = OmegaConf.to_object(compose("search", list(options)))  # type: ignore[assignment]
    return config


def _table(timed: dict[str, Timed]) -> str:
    """Tabulate the searches, with their speed relative to the mean of the first space's measurements."""
    bases = [one.tokens_per_second for name, one in timed.items() if name.startswith(BASE)]
    return markdown([_row(name, one, bases) for name, one in timed.items()])


def _row(name: str, timed: Timed, bases: Sequence[float]) -> dict[str, str]:
    speed, base, seconds = timed.tokens_per_second, statistics.mean(bases) if bases else None, timed.candidate_seconds
    scored = None if seconds is None else timed.candidate_tokens / seconds
    return {
        "search": name,
        "ms a step": f"{timed.milliseconds:.2f}",
        "over all steps": f"{1e3 * timed.tokens / timed.over_all:.2f}",
        "tokens a second": f"{speed:,.0f}",
        f"times {BASE}": _ratio(speed, base),
        "candidates a second": "-" if seconds is None else f"{1 / seconds:.1f}",
        "scored tokens a second": "-" if scored is None else f"{scored:,.0f}",
        f"scored, times {BASE}": _ratio(scored, base),
        "recordings": str(timed.recordings),
        "none after step": str(timed.last_recording),
        "seconds of steps that record": f"{timed.recording_seconds:.0f}",
        "seconds in all": f"{timed.seconds:.0f}",
    }


def _ratio(speed: float | None, base: float | None) -> str:
    return "-" if speed is None or base is None else f"{speed / base:.2f}"


if __name__ == "__main__":
    main()
