"""The study of a sweep: the same sweep can join it, other sweeps are refused."""

import shutil
from pathlib import Path

import optuna
import pytest

from nas.config import SweepConfig
from nas.errors import UserError
from nas.runs.opening import restored
from nas.sweeps.study import MADE_FOR, Plan, Sweep
from nas.sweeps.trial import trial_config
from tests.nas.commands import Ended, refusal
from tests.nas.sweeps.sweeping import SPEED, SWEEP


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("trainer.steps=7",), "trainer.steps=7 (the study has 6)"),
        ((f"{SPEED}.high=0.5",), "high: 0.5, log: True} (the study has {low: 0.001, high: 0.01, log: True})"),
        ((f"{SPEED}=null",), "sweep.ranges.trainer.learning_rate=none (the study has {low: 0.001"),
        (("sweep.objectives=[share]",), "objectives share (the study has quality)"),
        (("space.route_grad=selected",), "space.route_grad=selected (the study has full)"),
    ],
    ids=str,
)
def test_a_study_that_was_made_for_something_else(
    swept: Ended, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    shared = (f"sweep.storage=sqlite:///{swept.run}/study.db", f"output={tmp_path / 'outputs'}")
    message = refusal("sweep", *SWEEP, *shared, *options)
    assert "sweep.study=token_hybrid_recall was created for another sweep. Different: " in message
    assert told in message
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_of_an_earlier_version_goes_on(swept: Ended, tmp_path: Path) -> None:
    run = Path(shutil.copytree(swept.run, tmp_path / swept.run.name, ignore=shutil.ignore_patterns("search")))
    config = restored("sweep", str(run), [], {})
    assert isinstance(config, SweepConfig)
    sweep = Sweep(Plan.of(config), run)
    made_for = sweep.study.user_attrs[MADE_FOR]
    assert made_for["options"]["budget.start"] == "most_expensive"
    made_for["options"]["budget.start"] = "dearest"
    del made_for["options"]["relaxation.pairs"]
    sweep.study.set_user_attr(MADE_FOR, made_for)
    sweep.claim()
    made_for["options"]["relaxation.pairs"] = "True"
    sweep.study.set_user_attr(MADE_FOR, made_for)
    with pytest.raises(UserError, match=r"Different: relaxation\.pairs=False \(the study has True\)\."):
        sweep.claim()
    assert trial_config(config, {"budget.start": "dearest"}, None, run, 0).budget.start == "most_expensive"


def test_a_study_of_another_space_and_one_that_is_not_a_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    made = optuna.create_study(study_name="theirs", storage=storage)
    made.optimize(lambda trial: trial.suggest_float("x", 0, 1), 1)
    shared = (f"sweep.storage={storage}", f"output={tmp_path / 'outputs'}")
    assert "is a study that nas.sweep did not create" in refusal("sweep", *SWEEP, *shared, "sweep.study=theirs")
    other = optuna.create_study(study_name="other", storage=storage)
    other.set_user_attr("made for", {"space": "layer_hybrid", "objectives": ["quality"], "ranges": {}, "options": {}})
    assert "space token_hybrid (the study has layer_hybrid)" in refusal("sweep", *SWEEP, *shared, "sweep.study=other")
