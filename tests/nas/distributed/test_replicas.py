"""Several processes with whole models train as one does, also with recorded steps."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nas.runs.folder import Run
from nas.runs.history import history
from tests.nas.commands import Ended, nas
from tests.nas.distributed.several import OPTIONS, Processes, searched, torchrun, trained_alike

RERUN = """
import nas.search
import nas.jobs.libraries  # as a command imports Lightning, which takes half the time
from nas.distributed.launch import launched
from nas.training.graphs import cuda_graphs, recorded_steps
from tests.nas.training.graphs.test_cuda_graphs import Rerun

class Here(Rerun):
    def record(self, step):
        replay = super().record(step)
        if {fails} and self.recorded == 2 and launched().rank == 1:
            raise MemoryError("a graph would need too much")
        return replay

cuda_graphs.Recorder = Here
recorded_steps.wanted = lambda trainer, tokens: True
nas.search.main()
"""
"""A search that records its steps, though on a CPU; the second process may fail to record routed steps."""


def recorded(folder: Path, fails: bool) -> Processes:
    script = folder / "recorded.py"
    script.write_text(RERUN.format(fails=fails))
    return torchrun(folder / "logs", str(script), *OPTIONS, "trainer.cuda_graphs=true", f"output={folder}")


@pytest.mark.parametrize("fails", [False, True], ids=["recorded", "not recorded by one"])
def test_two_processes_with_recorded_steps_train_as_one(
    fails: bool, shared: Callable[..., Ended], tmp_path: Path
) -> None:
    both = recorded(tmp_path, fails)
    assert both.ended.status == 0, both.ended.err
    told = "training continues without CUDA graphs" in both.ended.err
    assert told == fails == ("another process could not record a step" in both.ended.err)
    alone = shared("one_process", "search", *OPTIONS)
    trained_alike(searched(tmp_path), alone.run, within=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [("trainer=ddp",), ("trainer=ddp", "trainer.cuda_graphs=true"), ("trainer=fsdp",)])
def test_two_gpus_train_as_one(options: tuple[str, ...], tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    on_gpu = (*OPTIONS, "trainer.accelerator=gpu", "trainer.precision=32-true")
    both = torchrun(tmp_path / "logs", "-m", "nas.search", *on_gpu, *options, f"output={tmp_path / 'both'}")
    assert both.ended.status == 0, both.ended.err
    assert "without CUDA graphs" not in both.ended.err
    alone = nas("search", *on_gpu, "trainer.cuda_graphs=false", f"output={tmp_path / 'alone'}")
    losses = [[row["loss"] for row in history(Run(run))] for run in (searched(tmp_path / "both"), alone.run)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
