"""Quality against cost of one model: what is measured, and that it is measured once."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from nas.config import EvaluateConfig
from nas.results.opened import open_run
from nas.runs.metrics import read_metrics
from nas.shares import curve
from nas.shares.curve import evaluate_shares
from nas.shares.thresholds import Threshold
from tests.nas.commands import Ended


@pytest.fixture
def other(editable: Path) -> Path:
    """The folder of a run with other weights than the search."""
    weights = load_file(editable / "model.safetensors")
    save_file(weights | {"head.weight": -weights["head.weight"]}, editable / "model.safetensors")
    return Path(shutil.move(editable, editable.with_name("other")))


def test_points_are_measured_once_and_the_files_show_all(
    search: Ended, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_run("run", str(search.run))
    measured: list[tuple[str, float | None, bool]] = []

    def counted(wanted: curve.Wanted, *others: object) -> curve.Point:
        measured.append((wanted.opened.run.path.name, wanted.share, wanted.as_point is not None))
        return original(wanted, *others)  # type: ignore[arg-type]

    original = curve.measured
    monkeypatch.setattr(curve, "measured", counted)
    monkeypatch.setattr("nas.shares.points.threshold_of", lambda *_: Threshold(0.0, 0.5))

    def run(*shares: float) -> str:
        console = Console(file=io.StringIO(), width=200)
        config = EvaluateConfig(run=str(search.run), share=list(shares), beside=[str(other)])
        evaluate_shares(opened, config, tmp_path, console)
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]

    said = run(0.5)
    own = search.run.name
    assert measured == [(own, None, False), ("other", None, False), (own, 0.5, False), (own, 0.5, True)]
    run(1, 0.5)
    assert measured[4:] == [(own, 1, False), (own, 1, True)]
    found = json.loads((tmp_path / "shares.json").read_text())
    assert (found["quality"], found["higher_is_better"], len(found["points"])) == ("recall", True, 6)
    trained, at_half = found["points"][0], found["points"][2]
    final = read_metrics(search.run)
    assert trained["quality"] == final.learnt.at_training_length.quality
    assert trained["share"] == pytest.approx(final.learnt.at_training_length.share)
    assert at_half["quality"] == trained["quality"]  # a threshold of 0 is that of the training
    assert all(
        text in said for text in ("as trained", "other", "share=0.5", "random, share=0.5", "recall: higher is better")
    )
    assert (tmp_path / "shares.md").read_text().startswith("| model ")
    assert {path.suffix for path in tmp_path.glob("recall-by-*")} == {".png", ".svg"}
    (tmp_path / "shares.json").write_text("{")
    run(0.5)
    assert len(measured) == 10
