"""Time the default search on a GPU and on two CPU threads of the same machine, and a 340M model on the GPU.

    python -m experiments.gpu_search                                  # all of it: about 10 minutes
    python -m experiments.gpu_search --parts search --seeds 0
    python -m experiments.gpu_search --parts one_gpu --steps 200

Every run is an ordinary command, alone on the machine; its wall time includes the start of the process. Finished runs
are not repeated. The tables contain the chosen parts.
"""

import argparse
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from experiments.runs import MadeRun, run_once, status_of
from nas.report.units import markdown, number
from nas.runs.metrics import Metrics

SEARCH = ("nas.search", "+space=token_hybrid")
CPU_THREADS = 2
Runs = dict[str, MadeRun]
"""Runs by name."""


def main() -> None:
    """Run the study: parse the command line, make missing runs, print and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu_search", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="what to run (default: all)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the searches on the GPU (default: 0 1 2)"
    )
    parser.add_argument("--steps", type=int, default=300, help="steps of the 340M model (default: 300)")
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu_search"), help="where the runs go")
    parser.add_argument(
        "--table", type=Path, default=Path(__file__).parent / "gpu.md", help="where to write the tables"
    )
    parser.add_argument("overrides", nargs="*", help="options for every run, for example trainer.log_every=50")
    given = parser.parse_args()
    runs: Runs = {}
    for part in PARTS:  # in this order: the first search finds no compiled kernels
        if part in given.parts:
            runs |= PARTS[part](given)
    tables = [_searches(runs), _real_size(runs), _machine()]
    text = "\n".join(table for table in tables if table)
    given.table.write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {given.table}")


def _on_gpu(given: argparse.Namespace) -> Runs:
    """Make the default search for each seed on the GPU."""
    return {
        f"GPU, seed {seed}": _run(given, f"gpu_{seed}", [*SEARCH, "trainer.accelerator=gpu", f"seed={seed}"])
        for seed in given.seeds
    }


def _on_cpu(given: argparse.Namespace) -> Runs:
    """Make the default search of the first seed on CPU threads."""
    seed = given.seeds[0]
    threads = {"OMP_NUM_THREADS": str(CPU_THREADS)}
    command = [*SEARCH, "trainer.accelerator=cpu", f"seed={seed}"]
    return {f"{CPU_THREADS} CPU threads, seed {seed}": _run(given, f"cpu_{seed}", command, threads)}


def _one_gpu(given: argparse.Namespace) -> Runs:
    """Make a search with a 340M model, and train the same model without routers and without softmax."""
    options = ["experiment=one_gpu", f"trainer.steps={given.steps}"]
    return {
        "340m, searched": _run(given, "one_gpu_searched", [*SEARCH, *options]),
        "340m, all linear": _run(given, "one_gpu_linear", ["nas.train", "architecture=linear", *options]),
    }


PARTS: dict[str, Callable[[argparse.Namespace], Runs]] = {"search": _on_gpu, "cpu": _on_cpu, "one_gpu": _one_gpu}


def _run(
    given: argparse.Namespace, name: str, command: list[str], environment: dict[str, str] | None = None
) -> MadeRun:
    """Make one run, with a cache of compiled kernels that was empty when this study began."""
    cache = {"TRITON_CACHE_DIR": str((given.output / "triton").resolve())}
    return run_once(given.output / name, [*command, *given.overrides], cache | (environment or {}))


def _searches(runs: Runs) -> str:
    """Tabulate the default searches: softmax share, quality, times, and the speedup over the CPU."""
    chosen = {name: run for name, run in runs.items() if run.metrics.quality == "recall"}
    cpu = next((run.wall_seconds for name, run in chosen.items() if "CPU" in name), None)
    return markdown([_search(name, run, cpu) for name, run in chosen.items()]) if chosen else ""


def _search(name: str, run: MadeRun, cpu: float | None) -> dict[str, str]:
    metrics, wall = run
    learnt, retrieving = metrics.learnt, metrics.retrieving_layer
    row = {"search": name, "softmax share": number(learnt.at_training_length.share)}
    for factor, figures in learnt.by_factor.items():
        row["recall" if factor == 1 else f"at {factor}x"] = number(figures.quality)
    return row | {
        "planted precision": number(None if retrieving is None else retrieving.precision),
        "planted recall": number(None if retrieving is None else retrieving.recall),
        "training s": f"{metrics.training_seconds:.1f}",
        "total s": "-" if wall is None else f"{wall:.1f}",
        "speedup over the CPU": "-" if wall is None or cpu is None else f"{cpu / wall:.1f}",
    }


def _real_size(runs: Runs) -> str:
    """Tabulate the 340M models: speed and share of peak FLOPs."""
    chosen = {name: run.metrics for name, run in runs.items() if name.startswith("340m")}
    return markdown([_speed(name, metrics) for name, metrics in chosen.items()]) if chosen else ""


def _speed(name: str, metrics: Metrics) -> dict[str, str]:
    own, peak, speed = metrics.learnt.at_training_length, metrics.flops_share, metrics.tokens_per_second
    return {
        "model, T = 4096": name,
        "parameters": f"{metrics.cost.parameters:,}",
        "steps": str(metrics.step),
        "softmax share": number(own.share),
        "bits per byte": number(own.quality),
        "tokens per second": "-" if speed is None else f"{speed:,.0f}",
        "share of peak FLOPs": "-" if peak is None else f"{100 * peak:.1f} %",
    }


def _machine() -> str:
    """Describe the machine and how the figures were measured."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    return (
        f"{gpu}, torch {torch.__version__}, triton {triton}, python {platform.python_version()}. The first search "
        "compiled the kernels; the others reused them. Share of peak FLOPs: the FLOPs that the model needs, forward "
        "and backward at the measured softmax share, over the GPU's dense bfloat16 peak.\n"
    )


if __name__ == "__main__":
    sys.exit(status_of(main))
