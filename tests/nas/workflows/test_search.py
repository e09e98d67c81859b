"""Killed, interrupted and finished runs go on with ``resume=`` and end where an uninterrupted run ends."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.data import Batch
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.runs.history import history
from nas.training.module import TrainingModule
from tests.nas.commands import SEARCH, SMALL, Ended, contents, nas
from tests.nas.interrupting import interrupt_at, kill_at, kill_in_checkpoint
from tests.nas.processes import forked, process, wait_for_end, wait_for_line

JOINT = ("+space=joint", "searcher=pairs", *SMALL, "space.chunk_sizes=[4,8]", "budget.target=6000")
"""A search in which layers choose."""


def searched(tmp_path: Path) -> Path:
    """The one run folder of a search."""
    (run,) = (tmp_path / "search").iterdir()
    return run


def same(run: Path, uninterrupted: Path) -> None:
    """What two runs left behind is the same, apart from times and names."""
    assert contents(run).keys() - contents(uninterrupted).keys() <= {
        name for name in contents(run) if name.startswith("tensorboard/events")
    }
    for name in ("model.safetensors", "architecture.json"):
        assert contents(run)[name] == contents(uninterrupted)[name], name
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (run, uninterrupted)]
    for figures in metrics:
        assert figures.pop("training_seconds") > 0
        assert figures.pop("evaluation_seconds") > 0
        assert figures.pop("tokens_per_second") > 0
    assert metrics[0] == metrics[1]
    assert history(Run(run)) == history(Run(uninterrupted))
    assert contents(run).get("routing.json") == contents(uninterrupted).get("routing.json")


@pytest.mark.parametrize(
    ("kill", "step", "options"),
    [
        (kill_at, 3, ()),
        (kill_at, 1, ()),
        (kill_in_checkpoint, 4, (*SEARCH, "relaxation=gumbel")),
        (kill_at, 5, JOINT),
    ],
    ids=["between checkpoints", "before the first checkpoint", "while a checkpoint is written, gumbel", "joint"],
)
def test_a_killed_run_ends_where_an_uninterrupted_one_does(
    search: Ended,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[int, pytest.MonkeyPatch], None],
    step: int,
    options: tuple[str, ...],
) -> None:
    with monkeypatch.context() as patch:
        kill(step, patch)
        assert forked(lambda: nas("search", *(options or SEARCH), f"output={tmp_path}")) == -signal.SIGKILL
    run = searched(tmp_path)
    assert "model.safetensors" not in contents(run)
    time.sleep(1)  # TensorBoard orders its files by the second in which they were begun
    resumed = nas("search", *(options or SEARCH), f"resume={run}")
    assert resumed.status == 0, resumed.err
    assert resumed.run == run
    uninterrupted = nas("search", *options, f"output={tmp_path / 'other'}").run if options else search.run
    same(run, uninterrupted)


@pytest.mark.parametrize("step", [0, 2, 3])
def test_an_interrupted_run_saves_what_it_learnt_and_goes_on_from_there(
    search: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupt_at(step, monkeypatch)
    stopped = nas("search", *SEARCH, f"output={tmp_path}")
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before
    assert stopped.status == 130
    assert stopped.err == ""
    assert f"Stopped at step {step + 1} of 6" in stopped.out
    assert f"resume={stopped.run}" in stopped.out
    assert contents(stopped.run).keys() >= {"model.safetensors", "architecture.json", "metrics.json", "report.html"}
    assert checkpoints.paths(stopped.run)[0].name == f"step={step + 1:09d}.ckpt"
    assert json.loads((stopped.run / "metrics.json").read_text())["finished"] is False
    assert "Stopped at step" in (stopped.run / "report.html").read_text()

    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 0, resumed.err
    assert f"Continuing from step {step + 1}: {5 - step} steps are left" in resumed.out
    same(stopped.run, search.run)


def test_a_run_interrupted_before_routing_began_is_measured_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(2, monkeypatch)
    dense = ("budget.dense_until=1", "budget.learnt_at=0", "trainer.validate_every=1")
    stopped = nas("search", *SEARCH, *dense, f"output={tmp_path}")
    assert stopped.status == 130
    assert "Routing had not begun: every chunk went to softmax." in stopped.out
    (measured,) = json.loads((stopped.run / "metrics.json").read_text())["routings"].values()
    assert measured["1x"]["quality"] == pytest.approx(history(Run(stopped.run))[-1]["validation_recall"])
    assert "Routing had not begun" in (stopped.run / "report.html").read_text()


def test_sigterm_stops_like_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(3, monkeypatch, signal.SIGTERM)
    stopped = nas("search", *SEARCH, f"output={tmp_path}")
    assert stopped.status == 130
    assert "Stopped at step 4 of 6" in stopped.out


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step = TrainingModule.training_step

    def interrupted(self: TrainingModule, batch: Batch, index: int) -> Tensor:
        if self.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("it went on")
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupted)
    stopped = nas("search", *SEARCH, f"output={tmp_path}")
    assert stopped.status == 130
    assert "Traceback" not in stopped.err
    monkeypatch.undo()
    assert nas("search", f"resume={searched(tmp_path)}").status == 0


def test_ctrl_c_while_measuring_stops_at_once_and_measuring_can_be_done_again(
    search: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.results.finish.controls", interrupted)
    stopped = nas("search", *SEARCH, f"output={tmp_path}")
    assert stopped.status == 130
    assert stopped.err == "error: stopped; resume=FOLDER continues a run that had begun.\n"
    monkeypatch.undo()
    assert nas("search", f"resume={stopped.run}").status == 0
    same(stopped.run, search.run)


def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    options = (*SEARCH, "trainer.steps=100000", "trainer.validate_every=5", f"output={tmp_path}")
    running = process("-m", "nas.search", *options)
    wait_for_line(running, "step 5 of")
    running.send_signal(signal.SIGINT)
    status, out, err = wait_for_end(running)
    assert status == 130
    assert err == ""
    assert "Stopping after this step" in out
    assert "Stopped at step" in out
    assert contents(searched(tmp_path)).keys() >= {"model.safetensors", "metrics.json", "report.html"}


def test_a_finished_run_is_not_trained_again(finished: Path) -> None:
    before = contents(finished)
    checkpoint = torch.load(finished / "checkpoints" / "step=000000006.ckpt", weights_only=True)
    (trained,) = (
        state["time_elapsed"]["train"] for state in checkpoint["callbacks"].values() if "time_elapsed" in state
    )
    resumed = nas("search", f"resume={finished}")
    assert resumed.status == 0
    assert "Continuing from step 6: no steps are left to train." in resumed.out
    after = contents(finished)
    for name in ("model.safetensors", "architecture.json", "config.yaml", "checkpoints/step=000000006.ckpt"):
        assert after[name] == before[name], name
    metrics = [json.loads(folder["metrics.json"]) for folder in (before, after)]
    assert metrics[0]["routings"] == metrics[1]["routings"]
    for figure in ("training_tokens", "tokens_per_second"):
        assert metrics[0][figure] == metrics[1][figure]
    assert metrics[1]["training_seconds"] >= trained > 0


def test_a_run_may_be_moved_and_resumed_with_its_options_from_elsewhere(finished: Path) -> None:
    moved = finished.rename(finished.with_name("moved"))
    resumed = nas("search", *SEARCH, f"resume={moved}", "output=nowhere", "name=another")
    assert resumed.status == 0, resumed.err
    assert resumed.run == moved
