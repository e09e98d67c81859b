"""Rows of a search over several GPUs are compared with that of one process."""

from pathlib import Path

import pytest

from experiments.several_gpus import __main__ as study
from nas.runs.folder import read_json


def row(kind: str, speed: str, losses: str) -> dict[str, str]:
    return {"processes": "2", "kind": kind, "tokens per second": speed, "times one": "", "losses": losses}


def test_rows_are_compared_with_one_process() -> None:
    one, two, unmeasured = study._with_ratios(
        [row(study.ALONE, "1,000", "4.0 2.0"), row("ddp", "1,900", "4.0 2.01"), row("fsdp", "-", "4.0 2.0")]
    )
    assert (one["times one"], two["times one"], unmeasured["times one"]) == ("1.00", "1.90", "-")
    assert two["largest difference of a loss"] == "0.50 %"
    assert two["last loss"] == "2.0100"
    (alone,) = study._with_ratios([row("ddp", "1,900", "4.0")])
    assert alone["largest difference of a loss"] == "-"


def test_kinds_have_their_options() -> None:
    assert study._counts(4) == [1, 2, 4]
    assert study._counts(0) == [1, 2]
    assert study.KINDS["context"](4) == ["trainer=ddp", "trainer.context_parallel=4"]


def test_the_largest_memory_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(["5\n9\n", "7\n3\n"])
    done = study.threading.Event()

    def read(query: list[str], text: bool) -> str:
        found = next(readings, None)
        if found is None:
            done.set()
        return found or "0\n0\n"

    monkeypatch.setattr(study, "EVERY", 0.001)
    monkeypatch.setattr("subprocess.check_output", read)
    with study._memory_into(tmp_path / "run" / "memory.json"):
        done.wait()
    assert read_json(tmp_path / "run" / "memory.json") == [7, 9]
