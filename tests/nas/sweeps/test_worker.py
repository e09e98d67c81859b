"""A worker of a sweep takes trials of a study that other workers share."""

from pathlib import Path

from tests.nas.commands import nas
from tests.nas.processes import Halted, wait_for_end
from tests.nas.sweeps.sweeping import PATIENT, SWEEP, metrics


def test_the_same_command_joins_a_study_and_both_write_results(tmp_path: Path) -> None:
    study = (f"sweep.storage=journal:{tmp_path}/study.journal", "sweep.study=ours", "sweep.trials=4")
    begun = Halted(tmp_path, 3, "sweep", *SWEEP, *PATIENT, *study, f"output={tmp_path / 'one'}")
    begun.waiting(1)
    begun.go()
    ended = nas("sweep", *SWEEP, *PATIENT, *study, f"output={tmp_path / 'two'}")
    other = wait_for_end(begun.process)
    assert other.status == ended.status == 0, other.err
    runs = [ended.run, other.run]
    assert metrics(runs[0])["trials"] == metrics(runs[1])["trials"]
    shares = [len(list((run / "search").iterdir())) for run in runs if (run / "search").exists()]
    assert sum(shares) == 4
    logged = [path for run in runs for path in run.glob("search/*/tensorboard/events*.trial")]
    assert len({path.parent for path in logged}) == len(logged) == 4
