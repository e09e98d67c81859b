"""The options of the searches of a sweep, and the command that repeats one of them."""

import json
from pathlib import Path

import pytest
import yaml

from nas.cli.composing import compose_search
from tests.nas.commands import SHORT, Ended, composed, contents, nas
from tests.nas.sweeps.sweeping import SWEEP, line, metrics


def test_the_line_to_run_finds_the_same_again(swept: Ended, tmp_path: Path) -> None:
    found = metrics(swept.run)
    again = nas("search", *line(found), f"output={tmp_path}")
    assert again.status == 0, again.err
    theirs = Path(found["best"][0]["run"])
    assert contents(again.run)["model.safetensors"] == contents(theirs)["model.safetensors"]
    assert metrics(again.run)["routings"] == metrics(theirs)["routings"]


def test_groups_are_swept_and_their_options_after_them(tmp_path: Path) -> None:
    ranges = (
        "+sweep.ranges.relaxation.choices=[gumbel,argmax_ste]",
        "+sweep.ranges.trainer.beta2={low: 0.8, high: 0.9}",
        "+sweep.ranges.model.routed_layers.choices=[[0],[0,1]]",
    )
    chosen = ("sweep.sampler=random", "relaxation=gumbel", "name=two words")
    ended = nas("sweep", *SWEEP, *SHORT, *ranges, *chosen, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    found = metrics(ended.run)
    for trial in found["trials"]:
        options = yaml.safe_load((Path(trial["run"]) / "config.yaml").read_text())["config"]
        assert options["relaxation"]["name"] == trial["values"]["relaxation"]
        assert (
            options["relaxation"]["temperature_end"]
            == {"gumbel": 0.3, "argmax_ste": 1.0}[trial["values"]["relaxation"]]
        )
        assert options["model"]["routed_layers"] == json.loads(trial["values"]["model.routed_layers"])
    assert len({trial["values"]["relaxation"] for trial in found["trials"]}) == 2
    assert composed("search", *line(found)).relaxation.name == found["best"][0]["values"]["relaxation"]


def test_references_hold_for_each_trial_and_resolvers_are_written_as_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BETA", "0.75")
    options = ("trainer.beta2=${oc.env:BETA}", "trainer.architecture_learning_rate=${seed}")
    ended = nas("sweep", *SWEEP, *SHORT, "sweep.trials=1", *options, "seed=3", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    monkeypatch.delenv("BETA")
    stored = yaml.safe_load((ended.run / "config.yaml").read_text())["config"]["sweep"]["search"]
    assert "trainer.beta2=0.75" in stored
    assert options[1] in stored
    resumed = nas("sweep", f"resume={ended.run}")
    assert resumed.status == 0, resumed.err
    assert compose_search(stored).trainer.architecture_learning_rate == 3
    assert yaml.safe_load((ended.run / "config.yaml").read_text())["config"]["sweep"]["search"] == stored
    assert nas("visualize", f"run={ended.run}").status == 0
