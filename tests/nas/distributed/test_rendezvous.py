"""Processes of a run end together: one failure is told once, one signal stops all."""

import json
from pathlib import Path

from tests.nas.distributed.several import (
    OPTIONS,
    as_by_srun,
    in_trouble,
    searched,
    troubled,
)


def test_a_failure_of_one_process_is_told_once_and_ends_all(tmp_path: Path) -> None:
    failed = in_trouble(tmp_path, 3, 1, 'raise UserError("nothing fits")')
    assert failed.ended.status == 1
    assert "error: process 1 of 2, on " in failed.second
    assert failed.second.endswith(": nothing fits\n")
    assert "error: " not in failed.ended.err
    assert failed.ended.err.count("exitcode  : 1 ") == 2


def test_a_signal_to_one_process_of_a_job_stops_all_after_the_same_step(tmp_path: Path) -> None:
    script = troubled(tmp_path, 6, 1, "os.kill(os.getpid(), signal.SIGTERM)")
    processes = [as_by_srun(rank, script, *OPTIONS, f"output={tmp_path}") for rank in range(2)]
    (out, _), (second, _) = (process.communicate() for process in processes)
    assert [process.returncode for process in processes] == [130, 130]
    assert "Stopped at step 7 of 20; the model at this step is saved." in out
    assert second == ""
    run = searched(tmp_path)
    assert json.loads((run / "metrics.json").read_text())["finished"] is False
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step=000000007.ckpt"]
