"""Options beside ``resume``: what may change, and what the folder records."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.config import CompareConfig
from nas.errors import UserError
from nas.runs.changes import apply, record
from nas.runs.folder import Run
from nas.runs.history import history
from nas.runs.opening import opened, restored
from tests.nas.commands import Ended, contents, nas, refusal


def described(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


def test_a_finished_run_is_trained_for_longer(finished: Path) -> None:
    old = contents(finished)
    ended = nas("search", f"resume={finished}", "trainer.steps=8")
    assert ended.status == 0, ended.err
    assert "Training for 8 steps instead of 6. From step 6 on, schedules are those of 8 steps" in ended.out
    assert "the learning rate jumps from 0.00015 to 0.000687." in ended.out
    assert history(Run(finished))[-1]["step"] == 8
    assert json.loads((finished / "metrics.json").read_text())["finished"]
    stored = described(finished)
    assert stored["config"]["trainer"]["steps"] == 8
    (change,) = stored["changes"]
    assert (change["step"], change["options"]) == (6, {"trainer.steps": {"from": 6, "to": 8}})
    for name in ("metrics.json", "model.safetensors", "architecture.json", "report.html"):
        assert (finished / "step=000000006" / name).read_bytes() == old[name]
        assert (finished / name).read_bytes() != old[name] or name == "architecture.json"
    assert "trainer.steps from 6 to 8 at step 6" in (finished / "report.html").read_text()
    again = nas("search", f"resume={finished}")
    assert "no steps are left" in again.out
    assert "instead of" not in again.out


def test_fewer_steps_are_refused(finished: Path) -> None:
    before = contents(finished)
    assert "trainer.steps=4 is below the 6 of resume=" in refusal("search", f"resume={finished}", "trainer.steps=4")
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("seed=3", "trainer.steps=8"), "Different: seed=3 (it has 0)."),
        (("relaxation=gumbel",), "relaxation.name=gumbel (it has argmax_ste)"),
        (("+space=joint",), "space.name=joint (it has token_hybrid)"),
        (("+nonsense=3",), "nonsense=3 (it has absent)"),
        (("experiment=one_gpu",), "experiment=one_gpu cannot be given beside resume"),
    ],
    ids=str,
)
def test_other_options_are_refused(finished: Path, options: tuple[str, ...], told: str) -> None:
    before = contents(finished)
    message = refusal("search", f"resume={finished}", *options)
    assert told in message
    assert contents(finished) == before


def test_the_larger_number_of_seeds_is_kept(
    compared: Ended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Path(shutil.copytree(compared.run, tmp_path / "copy", ignore=shutil.ignore_patterns("train"))))
    config = restored("compare", str(run.path), [], {})
    assert isinstance(config, CompareConfig)
    changed = apply("compare", run, config, {"seeds": 8, "workers": 3, "seed": config.seed})
    assert changed.keys() == {"seeds", "workers"}
    record(run, config, changed)
    again = restored("compare", str(run.path), [], {})
    assert again == config
    assert isinstance(again, CompareConfig)
    assert (again.seeds, again.workers) == (8, 3)
    assert apply("compare", run, again, {"seeds": 2}) == {}
    assert again.seeds == 8
    assert "seeds=2 is below the 8 of resume=" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"trainer\.steps=9 \(it has 4\)"):
        apply("compare", run, again, {"trainer.steps": 9})


def test_a_process_that_read_the_options_before_another_changed_them_is_refused(
    compared: Ended, tmp_path: Path
) -> None:
    run = Run(Path(shutil.copytree(compared.run, tmp_path / "copy", ignore=shutil.ignore_patterns("train"))))
    first, second = (restored("compare", str(run.path), [], {}) for _ in range(2))
    record(run, first, apply("compare", run, first, {"seeds": 8}))
    with opened("compare", first):
        pass
    with pytest.raises(UserError, match=r"Different: seeds=2 \(it has 8\)\."), opened("compare", second):
        pass


def test_a_check_that_fails_leaves_the_config(finished: Path) -> None:
    before = contents(finished)
    assert "trainer.devices" in refusal("search", f"resume={finished}", "trainer.devices=0")
    assert contents(finished) == before
