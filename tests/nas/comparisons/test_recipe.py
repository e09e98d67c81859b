"""The runs of a comparison: their shares, and runs that are refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.comparisons.recipe import check_same_data, read_run, warn_of_other_source
from nas.data.corpus import Source
from nas.errors import UserError
from tests.nas.architectures import small
from tests.nas.runs import examples

DIVERGED = json.dumps(examples.metrics(learnt=examples.row(shares={0: [0.5, math.nan]})).to_json())
WITHOUT_A_ROUTER = json.dumps(examples.metrics(learnt=examples.row(shares={})).to_json())


def folder(path: Path, command: str = "search", metrics: str | None = None, config: object = None) -> Path:
    path.mkdir()
    architecture = small("token_hybrid", "linear")
    own = {"name": "x", "data": {}} if config is None else config
    (path / "config.yaml").write_text(yaml.safe_dump({"command": command, "config": own}))
    (path / "architecture.json").write_text(architecture.to_json())
    measured = examples.metrics(learnt=examples.row(shares={0: [0.25, 0.5]})).to_json()
    (path / "metrics.json").write_text(json.dumps(measured) if metrics is None else metrics)
    return path


def test_a_run_is_read_with_its_share(tmp_path: Path) -> None:
    run = read_run(str(folder(tmp_path / "run")))
    assert run.shares == pytest.approx([0.375, 0.0])
    assert run.share == pytest.approx(0.375 / 2)
    assert run.routed_share == pytest.approx(0.375)
    assert run.architecture.mixers == ("token_hybrid", "linear")


def test_a_run_of_an_earlier_version_has_the_options_of_now(tmp_path: Path) -> None:
    earlier = {"name": "x", "data": {"name": "text"}, "budget": {"start": "dearest"}}
    first = read_run(str(folder(tmp_path / "first", config=earlier)))
    assert first.config["budget"]["start"] == "most_expensive"
    options = {"name": "text", "column": "text"}
    check_same_data([first, read_run(str(folder(tmp_path / "second", config={"name": "x", "data": options})))])
    options["column"] = "story"
    with pytest.raises(UserError, match=r"data\.column=text and story"):
        check_same_data([first, read_run(str(folder(tmp_path / "third", config={"name": "x", "data": options})))])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"command": "sweep"}, "a run of nas.sweep; give runs of: search, train"),
        ({"metrics": '{"finished": false}'}, "is not finished or is damaged; finish it with resume="),
        ({"metrics": "{"}, "is not finished or is damaged"),
        ({"metrics": '{"finished": true, "routings": {}}'}, "metrics.json is damaged"),
        ({"metrics": DIVERGED}, "whose training diverged: it has no softmax shares; give another run."),
        ({"metrics": WITHOUT_A_ROUTER}, "metrics.json is damaged: it has no softmax shares"),
        ({"config": []}, "is missing or damaged"),
    ],
    ids=["sweep", "unfinished", "no JSON", "no figures", "diverged", "no shares", "config"],
)
def test_a_folder_that_is_no_finished_run(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_run(str(folder(tmp_path / "run", **how)))
    with pytest.raises(UserError, match="which is not a folder"):
        read_run(str(tmp_path / "none"))


def test_runs_of_changed_files_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [folder(tmp_path / name, config={"name": "x", "data": {"path": "here"}}) for name in ("one", "two")]
    for path, digest in zip(paths, "ab", strict=True):
        (path / "corpus.json").write_text(json.dumps({"path": "here", "files": {"verse": [3, digest]}}), "utf-8")
    runs = [read_run(str(path)) for path in paths]
    with pytest.raises(UserError, match=r"read different files from one data.path \(changed verse\)"):
        check_same_data(runs)
    warn_of_other_source(runs, Source("here", {"verse": (3, "a")}))
    assert capsys.readouterr().err == ""
    warn_of_other_source(runs, Source("here", {"verse": (3, "c")}))
    assert "have changed since" in capsys.readouterr().err
