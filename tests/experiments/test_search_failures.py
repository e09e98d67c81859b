"""The study of failed searches: its tables from given figures, its options, and a small study."""

import shutil
import sys
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.search_failures import __main__ as command
from experiments.search_failures.results import Seed, report, seed_of
from nas.budget.controller import Budget
from nas.data import build_task
from nas.errors import INTERRUPTED
from nas.runs.metrics import Failure
from tests.experiments.test_ablations import cells
from tests.nas.budget.test_controller import OPTIONS
from tests.nas.commands import ROOT, composed
from tests.nas.runs import examples

STUDY: dict[str, Any] = yaml.safe_load((Path(command.__file__).parent / "config.yaml").read_text())
LOGGED: list[Mapping[str, float]] = [
    {"step": 10, "loss": 4.0, "share/layer_1": 1.0, "share/layer_3": 1.0},
    {"step": 20, "loss": 0.4, "share/layer_1": 0.5, "share/layer_3": 0.001},
    {"step": 30, "loss": 1.5, "share/layer_1": 0.001, "share/layer_3": 0.0},
]


def made(seed: int, quality: float, says_so: bool = False, logged: list[Mapping[str, float]] | None = None) -> Seed:
    failure = Failure(("a sign",), None, ()) if says_so else None
    return seed_of(seed, examples.metrics(learnt=examples.row(quality=quality), failure=failure), logged or LOGGED[:2])


def test_seeds_near_the_best_one_of_all_remedies_succeed() -> None:
    found = {
        "planted": {
            "none": [made(0, 0.9), made(1, 0.5, says_so=True, logged=LOGGED), made(2, 0.7)],
            "late": [made(0, 0.91), made(1, 0.89, says_so=True)],
        }
    }
    text = report(found)
    row = cells(text, "none")
    assert (row["succeeded"], row["median recall"], row["worst"]) == ("1 of 3", "0.700", "0.500")
    assert (row["worst at 4x"], row["share"], row["says so"]) == ("0.125", "0.125", "1 of 2 + 0")
    assert (cells(text, "late")["succeeded"], cells(text, "late")["says so"]) == ("2 of 2", "0 of 0 + 1")
    assert [cells(text, name)["median step learnt"] for name in ("none", "late")] == ["20", "20"]
    lost = [line for line in text.splitlines() if line.startswith("| none") and "at 4x" in line]
    assert [[cell.strip() for cell in line.split("|")[2:-1]] for line in lost] == [
        ["1", "0.500", "0.125 at 4x", "0.125", "20", "21", "0.400", "30", "1 at 30, 3 at 20"],
        ["2", "0.700", "0.175 at 4x", "0.125", "20", "21", "0.400", "-", "3 at 20"],
    ]
    assert "No seed fails." in report({"planted": {"late": found["planted"]["late"]}})


def test_options_of_every_task_and_remedy_fit() -> None:
    for task in STUDY["tasks"]:
        config = composed("search", *command.options_of(STUDY, task, "+".join(STUDY["remedies"]), smoke=False))
        assert build_task(config.data, 0).vocab_size > 0
    for remedy in STUDY["remedies"].values():
        given = {
            name.removeprefix("budget."): yaml.safe_load(value)
            for name, _, value in (one.partition("=") for one in remedy if not one.startswith(command.SPACE))
        }
        known = given.keys() & signature(Budget).parameters
        assert Budget(**OPTIONS | {name: given[name] for name in known}).dense
    both = command.options_of(STUDY, "text", "late+distillation", smoke=False)
    assert (both[0], both[-2:]) == ("+space=token_hybrid", ["budget.learnt_at=0.05", "budget.distillation=1"])
    assert command.options_of(STUDY, "text", "select+late", smoke=False)[0] == "+space=joint"


@pytest.mark.usefixtures("runs_in_this_process")
def test_a_small_study_makes_missing_runs_until_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    given = ["--smoke", "--output", str(tmp_path / "runs"), "--table", str(tmp_path / "t.md")]
    for options, starts, rows in (
        (["--deadline", "0"], 0, []),
        ([], 2, ["none", "distillation+loss_margin"]),
        (["--deadline", "0"], 0, ["none", "distillation+loss_margin"]),
    ):
        monkeypatch.setattr(sys, "argv", ["search_failures", *given, *options])
        assert command.main() == 0
        assert capsys.readouterr().out.count("$ python -m nas.search") == starts
        text = (tmp_path / "t.md").read_text()
        assert all(cells(text, name)["succeeded"].endswith(" of 1") for name in rows)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command, "run_all", stopped)
        patched.setattr(sys, "argv", ["search_failures", *given[:-1], str(tmp_path / "other.md")])
        assert command.main() == INTERRUPTED
    assert (tmp_path / "other.md").read_text() == text
    capsys.readouterr()
    shutil.rmtree(tmp_path / "runs")
    for options, refused in (
        (["--remedies", "none+prayer"], "--remedies has prayer; choose of: none, "),
        (["trainer.steps=9"], "t.json has runs with the options --smoke; give another --table"),
        ([], ""),
    ):
        monkeypatch.setattr(sys, "argv", ["search_failures", *given, *options])
        if refused:
            with pytest.raises(SystemExit):
                command.main()
        else:
            assert command.main() == 0
        assert refused in capsys.readouterr().err
    assert (tmp_path / "t.md").read_text() == text
    assert not (tmp_path / "runs").exists()
