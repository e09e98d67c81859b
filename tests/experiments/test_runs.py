"""Runs of studies: each is made once, and a stopped run is resumed."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from experiments import runs
from nas.jobs.processes import GPUS
from tests.nas.runs.examples import metrics

COMMAND = ["nas.search", "+space=token_hybrid"]


def leave_run(folder: Path, finished: bool) -> None:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("")
    (folder / "checkpoints" / "step=000000002.ckpt").write_text("")
    (folder / "metrics.json").write_text(json.dumps(metrics(finished=finished).to_json()))


def commands_of(monkeypatch: pytest.MonkeyPatch, run: Path) -> list[list[str]]:
    """Return a list of all commands from now on; each command leaves a finished run."""
    ran: list[list[str]] = []

    def finish(full: list[str], *_: Any) -> None:
        ran.append(full[2:])
        leave_run(run, finished=True)

    monkeypatch.setattr(runs, "execute", finish)
    return ran


def test_a_run_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = commands_of(monkeypatch, tmp_path / "search/one")
    for _ in range(2):
        assert runs.run_once(tmp_path, COMMAND).metrics.finished
    assert ran == [[*COMMAND, f"output={tmp_path}"]]
    assert runs.finished_run(tmp_path) == tmp_path / "search/one"


def test_runs_are_spread_over_the_gpus_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPUS, "2,5")
    given: list[dict[str, str]] = []
    together = threading.Barrier(2)  # a worker that ends early would take the next run, too

    def finish(full: list[str], environment: dict[str, str], *_: Any) -> None:
        given.append(environment)
        together.wait(timeout=60)
        leave_run(Path(full[-1].removeprefix("output=")) / "search/one", finished=True)

    monkeypatch.setattr(runs, "execute", finish)
    runs.run_all({tmp_path / str(index): COMMAND for index in range(4)}, 2, {"A": "b"})
    assert sorted(one[GPUS] for one in given) == ["2", "2", "5", "5"]
    assert all(one["A"] == "b" for one in given)


def test_a_stopped_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = tmp_path / "search/one"
    leave_run(stopped, finished=False)
    (tmp_path / "seconds.json").write_text("100.0")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        runs.finished_run(tmp_path)
    ran = commands_of(monkeypatch, stopped)
    seconds = runs.run_once(tmp_path, COMMAND).wall_seconds
    assert seconds is not None
    assert seconds >= 100, "the time of both halves"
    assert ran == [["nas.search", f"resume={stopped}"]]


def test_a_run_stopped_before_its_first_checkpoint_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search/one").mkdir(parents=True)
    (tmp_path / "search/one/config.yaml").write_text("")
    ran = commands_of(monkeypatch, tmp_path / "search/two")
    runs.run_once(tmp_path, COMMAND)
    assert ran == [[*COMMAND, f"output={tmp_path}"]]
    assert runs.finished_run(tmp_path) == tmp_path / "search/two"


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (subprocess.CalledProcessError(130, ["python", "-m", "nas.compare", "seeds=3"]), 130, "nas.compare ended with"),
        (runs.RunsFailed([Path("bad")], {}), 1, "bad"),
        (runs.DeadlinePassed("the deadline has passed: 3 of 4 runs are finished"), 130, "3 of 4 runs are finished."),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_a_stopped_study_says_how_to_continue(
    error: BaseException, status: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    assert runs.status_of(main) == status
    printed = capsys.readouterr().err
    assert expected in printed
    assert "the same command continues" in printed
    assert printed.count("\n") == 1


def test_a_study_that_ends_well_has_status_0_or_its_own() -> None:
    assert runs.status_of(lambda: None) == 0
    assert runs.status_of(lambda: 3) == 3


def test_at_the_deadline_a_run_is_interrupted() -> None:
    with pytest.raises(runs.DeadlinePassed):
        runs.execute([sys.executable, "-c", "import signal; signal.pause()"], deadline=runs.deadline_in(1e-5))


def test_after_the_deadline_nothing_new_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_run(tmp_path / "done/train/one", finished=True)
    commands = {tmp_path / name: ["nas.no_such_command"] for name in ("done", "new")}
    with pytest.raises(runs.DeadlinePassed, match="1 of 2 runs are finished") as error:
        runs.run_all(commands, 1, deadline=runs.deadline_in(-1))
    assert list(error.value.done) == [tmp_path / "done"]
    assert runs.unfinished(list(commands)) == 1
    assert capsys.readouterr().out == ""
