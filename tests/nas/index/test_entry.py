"""Entries of the index page: searches, sweeps and comparisons, unfinished and damaged ones."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from nas.index.entry import entry
from tests.nas.commands import Ended
from tests.nas.index.written import finished, run
from tests.nas.runs.examples import row


def test_a_search_has_its_figures_its_options_and_its_curves(search: Ended) -> None:
    one = entry(search.run)
    assert (one.command, one.status, one.reason, one.data) == ("search", "finished", "", "recall, 64 tokens")
    assert (one.seed, one.measure, one.report) == ("0", "recall", True)
    assert "token_hybrid@8" in one.found
    assert one.created == search.run.name[: len("2026-11-28_12-00-00")]
    assert one.options["model.width"] == "16"
    assert one.curves["loss"][0] == [1, 2, 3, 4, 5, 6]
    assert one.curves["validation recall"][0] == [3, 6]
    assert one.cache > 0


def test_a_sweep_has_its_best_trial(swept: Ended) -> None:
    one = entry(swept.run)
    assert (one.command, one.status, one.measure) == ("sweep", "finished", "recall")
    assert one.found.startswith("trial ")
    assert "model.chunk_size=" in one.found
    assert (swept.run / "search" / one.best).is_dir()


def test_a_comparison_has_its_best_model(compared: Ended) -> None:
    one = entry(compared.run)
    assert (one.command, one.status, one.measure) == ("compare", "finished", "recall")
    assert " best of 4 models with " in one.found
    assert math.isfinite(one.quality)
    assert math.isfinite(one.share)


def test_equal_layers_in_a_row_are_counted(tmp_path: Path) -> None:
    assert entry(finished(tmp_path / "a")).found == "2 x linear"


def test_unfinished_and_diverged_runs_say_so(tmp_path: Path) -> None:
    one = entry(run(tmp_path / "begun"))
    assert (one.status, one.reason) == ("stopped", "step 0 of 200")
    one = entry(finished(tmp_path / "stopped", finished=False))
    assert (one.status, one.reason) == ("stopped", "step 100 of 200")
    one = entry(finished(tmp_path / "diverged", learnt=row(quality=math.nan)))
    assert (one.status, one.reason) == ("failed", "training diverged")
    assert entry(run(tmp_path / "sweep", "sweep")).reason.startswith("no trial")
    assert entry(run(tmp_path / "compare", "compare")).reason == "no results yet"


def link(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/passwd")
    return path


def config(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "config.yaml").write_text(text)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} {{p: *{before}, q: *{before}}}\n" for before, after in pairwise("abcdefghijklmnopq")
)
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "config is missing": (lambda folder: (folder / "config.yaml").unlink(), "config.yaml is missing"),
    "config is no YAML": (config("{"), "config.yaml is not YAML"),
    "config runs code": (config("!!python/object/apply:os.system [exit]"), "config.yaml is not YAML"),
    "config is a list": (config("[]"), "config.yaml has no config"),
    "command": (config("{command: rm, config: {}}"), "config.yaml is of no command: 'rm'"),
    "aliases": (
        config("command: search\nconfig:\n" + "".join(f"  {line}\n" for line in BOMB.splitlines())),
        "config.yaml has more than 5000 options",
    ),
    "metrics": (lambda folder: (folder / "metrics.json").write_text("{"), "metrics.json is damaged ("),
    "deep metrics": (lambda folder: (folder / "metrics.json").write_text("[" * 100_000), "metrics.json is damaged ("),
    "metrics of another kind": (lambda folder: (folder / "metrics.json").write_text("[]"), "metrics.json is damaged ("),
    "architecture": (lambda folder: (folder / "architecture.json").unlink(), "architecture.json is missing"),
    "link": (lambda folder: link(folder / "metrics.json"), "metrics.json is a link"),
    "event files": (
        lambda folder: link(folder / "tensorboard" / "events.out.tfevents.1"),
        "tensorboard has a link",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_an_entry_with_its_reason(name: str, tmp_path: Path) -> None:
    damage, reason = DAMAGE[name]
    damage(finished(tmp_path / "run"))
    one = entry(tmp_path / "run")
    assert one.status == "damaged"
    assert reason in one.reason
    assert "\n" not in one.reason


def test_a_config_is_plain_text_and_keeps_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    run(tmp_path / "run", name="${oc.env:SECRET}", prompt="${oc.env:SECRET}", sweep={"storage": "a://user:pass@host"})
    one = entry(tmp_path / "run")
    assert one.options["prompt"] == "${oc.env:SECRET}"
    assert "pass" not in yaml.safe_dump(one.options)
