"""The page of a sweep: its trials in every state, and names that are harmful as HTML."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from nas.errors import UserError
from nas.files.lock import locked
from nas.sweeps.page import page, write
from tests.nas.commands import Ended
from tests.nas.report.examples import without_scripts
from tests.nas.sweeps.sweeping import metrics as summary_of

SCRIPT = "</script><script>alert(1)</script>"


def trial(number: int, quality: float | None, share: float, state: str = "complete", **values: Any) -> dict[str, Any]:
    return {
        "trial": number,
        "state": state,
        "objectives": None if quality is None else {"quality": quality, "share": share},
        "values": {"model.width": 16 * number, "relaxation.name": "gumbel"} | values,
        "reason": None if quality is not None else f"diverged {SCRIPT}",
        "run": None,
        "attempts": 1,
        "seconds": 12.5,
    }


def metrics(*trials: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return metrics of a sweep over width and relaxation with two objectives, whose first trial is best."""
    return {
        "study": SCRIPT,
        "objectives": {"quality": "maximize", "share": "minimize"},
        "quality": "recall",
        "ranges": {"model.width": {"low": 16, "high": 64, "log": True, "step": None}},
        "finished": len(trials),
        "trials_asked_for": len(trials),
        "best": [one | {"command": f"python -m nas.search {SCRIPT}"} for one in trials[:1] if one["objectives"]],
        "importances": {"recall": {"model.width": 0.75, "relaxation.name": 0.25}, "share": {}},
        "trials": list(trials),
    } | changed


def specs(text: str) -> dict[str, Any]:
    """Return the charts of a page."""
    found: dict[str, Any] = json.loads(text.split('id="charts">')[1].split("</script>")[0])
    return found


def rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for data in spec["data"] for row in data.get("values", [])]


def test_every_trial_is_in_the_charts_and_in_the_table(tmp_path: Path) -> None:
    given = metrics(trial(1, 0.9, 0.1), trial(2, 0.5, 0.4), trial(3, None, 0.0, "fail"), trial(4, 0.8, 0.2))
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    (folder / "search" / "t").mkdir(parents=True)
    (folder / "search" / "t" / "report.html").touch()
    given["trials"][0]["run"] = "/moved away/t"
    text = page(given, folder, tmp_path)
    charts = specs(text)
    assert set(charts) == {
        *("chart-front-0", "chart-history-quality", "chart-history-share"),
        *("chart-importances-0", "chart-parallel"),
    }
    front = {row["name"]: row for row in rows(charts["chart-front-0"]) if "name" in row}
    assert {name: (row["x"], row["y"], row["kind"]) for name, row in front.items()} == {
        "trial 1": (0.9, 0.1, "Pareto front"),
        "trial 2": (0.5, 0.4, "trial"),
        "trial 4": (0.8, 0.2, "trial"),
    }
    assert front["trial 1"]["href"] == "caf%E9/search/t/report.html"
    line = [(row["x"], row["y"]) for row in rows(charts["chart-history-share"]) if "order" in row]
    assert line == [(1, 0.1), (2, 0.1), (2, 0.1), (4, 0.1), (4, 0.1)]
    width = {
        row["name"]: row for row in rows(charts["chart-parallel"]) if row.get("axis") == "model.width" and "name" in row
    }
    assert {name: row["at"] for name, row in width.items()} == {"trial 1": 0.0, "trial 2": 0.5, "trial 4": 1.0}
    assert width["trial 1"]["class"] == "best fifth"
    assert '<a href="caf%E9/search/t/report.html">trial 1</a>' in text
    assert without_scripts(text).count("<tr>") + without_scripts(text).count("<tr class") == 5
    assert "1 trial failed: diverged" in text


def test_nothing_hostile_becomes_an_element(tmp_path: Path) -> None:
    harmless = page(metrics(trial(1, 0.9, 0.1), trial(2, 0.5, 0.4)), tmp_path, tmp_path)
    given = metrics(
        trial(1, 0.9, 0.1, **{SCRIPT: SCRIPT}),
        trial(2, 0.5, 0.4, **{SCRIPT: "b"}),
        trial(3, None, 0, "fail"),
        importances={SCRIPT: {SCRIPT: 1.0}},
    )
    folder = tmp_path / "a<b>&'\"c"
    folder.mkdir()
    text = page(given, folder, tmp_path)
    assert text.count("<script") == harmless.count("<script")
    assert "<title>a&lt;b&gt;&amp;&#39;&#34;c</title>" in text
    assert "chart-parallel" in specs(text)


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        ([], "No trial has begun."),
        ([trial(1, None, 0.0, "running")], "No trial is complete yet"),
        ([trial(1, 0.5, 0.5)], "1 complete"),
    ],
    ids=["none", "running", "one"],
)
def test_a_sweep_with_little_to_show_shows_that(trials: list[dict[str, Any]], told: str, tmp_path: Path) -> None:
    text = page(metrics(*trials, finished=0, trials_asked_for=20), tmp_path, tmp_path)
    assert told in text
    assert "Not finished: 0 of 20 trials have ended so far. No process here goes on with it;" in text
    assert f"resume={tmp_path}" in text


def test_a_page_made_while_the_sweep_goes_on_says_so(swept: Ended, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept.run, tmp_path / "sweep", ignore=shutil.ignore_patterns("search")))
    with locked(folder):
        write(folder, tmp_path / "page.html")
    assert "This page was made while the sweep went on: 3 of 3 trials have ended so far." in (
        tmp_path / "page.html"
    ).read_text(encoding="utf-8")
    write(folder, tmp_path / "page.html")
    assert "went on" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_title_and_the_first_paragraph_answer(swept: Ended) -> None:
    text = (swept.run / "report.html").read_text(encoding="utf-8")
    assert "<title>Sweep of 5 options on recall</title>" in text
    origin, first = re.findall(r"<p[^>]*>([^<]*)", without_scripts(text))[:2]
    assert origin.startswith(f"Folder {swept.run.name}, started 20")
    best = summary_of(swept.run)["best"][0]
    assert first.startswith(f"Trial {best['trial']} is the best of ")
    assert f"model.chunk_size={best['values']['model.chunk_size']}, " in first
    assert f"Trial {best['trial']} has recall {best['objectives']['quality']:.3f}. Nothing was learnt: recall " in first
    assert " Its softmax share is " in first
    assert "<dt>best recall at 64 tokens</dt>" in text
    assert re.search(r"its cache takes [\d.]+ [KM]iB at 128k tokens\. Each trial is a single training", first)


def test_the_first_paragraph_on_several_objectives_is_of_the_front(tmp_path: Path) -> None:
    text = page(metrics(trial(1, 0.9, 0.1), trial(2, 0.5, 0.4)), tmp_path, tmp_path)
    first = re.findall(r'<p class="answer">([^<]*)', text)[0]
    assert first.startswith(
        "The Pareto front of recall and share has 1 of 2 complete trials. Trial 1 has recall 0.900, share 0.100."
    )


def test_a_folder_that_is_no_sweep_and_metrics_that_are_damaged_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.yaml is missing or damaged"):
        write(tmp_path, tmp_path / "page.html")
    (tmp_path / "config.yaml").write_text("command: search\nconfig: {}\n")
    with pytest.raises(UserError, match=r"is a run of nas\.search, not of nas\.sweep"):
        write(tmp_path, tmp_path / "page.html")
    damaged = metrics(trial(1, 0.9, 0.1))
    del damaged["trials"][0]["state"]
    with pytest.raises(UserError, match=r"metrics\.json is damaged"):
        page(damaged, tmp_path, tmp_path)
    assert not re.findall("page", " ".join(path.name for path in tmp_path.iterdir()))
