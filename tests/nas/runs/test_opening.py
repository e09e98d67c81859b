"""Folders that a command can resume, and those that it refuses without a change."""

from pathlib import Path

import yaml

from nas.runs.changes import apply
from nas.runs.folder import Run
from nas.runs.opening import restored
from tests.nas.commands import SEARCH, contents, refusal
from tests.nas.runs.test_folder import refused


def test_results_without_a_checkpoint(finished: Path) -> None:
    for checkpoint in (finished / "checkpoints").iterdir():
        checkpoint.unlink()
    assert "no checkpoint" in refused(finished)


def test_a_run_of_another_command(finished: Path) -> None:
    before = contents(finished)
    message = refusal("train", f"resume={finished}")
    assert "is a run of nas.search, not of nas.train" in message
    assert contents(finished) == before


def test_a_run_with_other_options(finished: Path) -> None:
    message = refused(finished, *SEARCH, "seed=3", "trainer.steps=8", "relaxation=gumbel")
    for told in ("seed=3 (it has 0)", "relaxation.name=gumbel (it has argmax_ste)"):
        assert told in message
    assert "trainer.steps=8" not in message
    assert "model." not in message


def test_a_run_of_an_earlier_version_has_no_other_options(editable: Path) -> None:
    described = yaml.safe_load((editable / "config.yaml").read_text())
    described["config"]["budget"]["start"] = "dearest"
    del described["config"]["relaxation"]["pairs"]
    (editable / "config.yaml").write_text(yaml.safe_dump(described))
    config = restored("search", str(editable), [], {})
    assert config.budget.start == "most_expensive"
    assert Run(editable).differences(config) == []
    config.relaxation.pairs = True
    assert Run(editable).differences(config) == ["relaxation.pairs=True (it has False)"]
    config.relaxation.pairs = False
    assert apply("search", Run(editable), config, {"budget.start": "dearest"}) == {}


def test_a_run_on_other_data(finished: Path) -> None:
    options = [option for option in SEARCH if not option.startswith("data.")]
    message = refused(finished, *options, "data=text", "data.length=64")
    assert "data.name=text (it has recall)" in message
    assert "data.path=None (it has absent)" in message


def test_what_is_not_a_folder(finished: Path, tmp_path: Path) -> None:
    for nowhere in (tmp_path / "nowhere", finished / "config.yaml"):
        assert f"resume={nowhere}: there is no such folder" in refusal("search", f"resume={nowhere}")
    (tmp_path / "empty").mkdir()
    assert "is not the folder of a run" in refused(tmp_path / "empty")
