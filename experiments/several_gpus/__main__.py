"""Measure one search over 1, 2, 4, ... GPUs of this machine: speed, memory, and losses against those of one GPU.

    python -m experiments.several_gpus                              # all GPUs and kinds
    python -m experiments.several_gpus --counts 1 2 --kinds ddp fsdp -- trainer.steps=100
    python -m experiments.several_gpus --kinds context --counts 4 -- data.length=1048576 data.batch_size=1 \
        data.length_factors=[1] data.validation_batches=1 trainer.activation_checkpointing=true

Every run is an ordinary command on the same global batch. Finished runs are not repeated. Without a GPU the processes
run on the CPU, which shows that the commands work, and nothing about speed.
"""

import argparse
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from experiments.runs import finished_run, machine, run_once, status_of
from nas.files.saving import subfolder
from nas.report.units import markdown
from nas.runs.folder import Run, read_json
from nas.runs.history import history

KINDS = {
    "ddp": lambda count: ["trainer=ddp"],
    "graphs": lambda count: ["trainer=ddp", "trainer.cuda_graphs=true"],
    "fsdp": lambda count: ["trainer=fsdp"],
    "context": lambda count: ["trainer=ddp", f"trainer.context_parallel={count}"],
}
"""Options of several processes, by kind: copies of the model, the same with CUDA graphs, shards, shared sequences."""
ALONE = "one process"
MEMORY = "memory.json"
EVERY = 0.5
"""Seconds between two readings of the memory."""


def main() -> None:
    """Run the study: parse the command line, make missing runs, print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.several_gpus", description=__doc__.split("\n")[0])
    gpus = torch.cuda.device_count()
    parser.add_argument("--counts", type=int, nargs="+", default=_counts(gpus), help="numbers of processes")
    parser.add_argument(
        "--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="kinds of several processes"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/several_gpus"), help="where the runs go")
    parser.add_argument("--table", type=Path, help="where to write the table (default: gpus.md in the output folder)")
    parser.add_argument("overrides", nargs="*", help="options of every run, for example trainer.steps=100")
    given = parser.parse_args()
    rows = [row for count in given.counts for row in _rows(given, count)]
    text = f"{markdown(_with_ratios(rows))}\n{gpus} x {machine()}.\n"
    subfolder(given.output.parent, given.output.name)
    table = given.table or given.output / "gpus.md"
    table.write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {table}")


def _counts(gpus: int) -> list[int]:
    """Return 1, 2, 4, ... up to the number of GPUs, at least 1 and 2."""
    return [count for count in (1, 2, 4, 8, 16) if count <= max(gpus, 2)]


def _rows(given: argparse.Namespace, count: int) -> Iterator[dict[str, str]]:
    """Yield a row for each kind of run over ``count`` processes."""
    for kind in given.kinds if count > 1 else [ALONE]:
        folder = given.output / f"{kind.replace(' ', '_')}_{count}"
        options = ["+space=token_hybrid", "experiment=one_gpu", "trainer.log_every=1", *given.overrides]
        command = ["nas.search", *options]
        if count > 1:
            processes = ["--standalone", f"--nproc-per-node={count}", "-m"]
            command = ["torch.distributed.run", *processes, *command, *KINDS[kind](count)]
        with _memory_into(folder / MEMORY):
            run = run_once(folder, command)
        metrics, losses = run.metrics, [row["loss"] for row in history(Run(finished_run(folder)))]
        yield {
            "processes": str(count),
            "kind": kind,
            "tokens per second": "-" if metrics.tokens_per_second is None else f"{metrics.tokens_per_second:,.0f}",
            "times one": "",
            "GiB of a GPU": f"{max(read_json(folder / MEMORY) or [0]) / 1024:.1f}",
            "losses": " ".join(map(str, losses)),
        }


def _with_ratios(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Compare each row with that of one process: its speed, and the largest relative difference of a loss."""
    alone = next((row for row in rows if row["kind"] == ALONE), None)
    made = []
    for row in rows:
        losses = [float(loss) for loss in row["losses"].split()]
        compared = {"times one": "-", "largest difference of a loss": "-", "last loss": f"{losses[-1]:.4f}"}
        if alone is not None:
            expected = [float(loss) for loss in alone["losses"].split()]
            differences = [abs(loss - other) / other for loss, other in zip(losses, expected, strict=False)]
            compared["largest difference of a loss"] = f"{100 * max(differences):.2f} %"
            if "-" not in (row["tokens per second"], alone["tokens per second"]):
                speed, of_one = (float(one["tokens per second"].replace(",", "")) for one in (row, alone))
                compared["times one"] = f"{speed / of_one:.2f}"
        made.append({name: value for name, value in row.items() if name != "losses"} | compared)
    return made


@contextmanager
def _memory_into(file: Path) -> Iterator[None]:
    """Write the largest use of each GPU's memory during the block, in MiB, as nvidia-smi reads it; [] without one."""
    most: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY):
            with suppress(OSError, ValueError, subprocess.CalledProcessError):
                query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
                used = [int(line) for line in subprocess.check_output(query, text=True).split()]
                most[:] = [max(pair) for pair in zip(used, most or used, strict=True)]

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if most:
            file.parent.mkdir(parents=True, exist_ok=True)
            before = read_json(file) or most
            file.write_text(str([max(pair) for pair in zip(most, before, strict=True)]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(status_of(main))
