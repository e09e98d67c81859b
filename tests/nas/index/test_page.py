"""The index page: its rows, what it stores beside it, and how it works in a browser."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nas.files.lock import locked
from nas.index import page
from nas.index.entry import Entry, entry
from tests.nas.commands import Ended, nas, refusal
from tests.nas.index.written import finished, run
from tests.nas.report.browser import opened, violations
from tests.nas.report.examples import HOSTILE, Parsed


def index(root: Path) -> str:
    """The page that the command writes."""
    ended = nas("visualize", f"runs={root}")
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f"Open {root}/index.html, the index of ")
    return (root / "index.html").read_text()


def test_the_command_writes_every_run_with_a_relative_link(swept: Ended, tmp_path: Path) -> None:
    finished(tmp_path / "search/2026-11-28_12-00-00_mine")
    (tmp_path / "search/2026-11-28_12-00-00_mine/report.html").touch()
    run(tmp_path / "train/broken").joinpath("config.yaml").write_text("{")
    parsed = Parsed(index(tmp_path))
    text = " ".join(parsed.text.split())
    assert "token_hybrid on recall 2026-11-28_12-00-00_mine search finished recall, 64 tokens 2 x linear" in text
    assert "0.500 recall 0.125 1.00 MiB 3" in text
    assert "broken - damaged config.yaml is not YAML" in text
    links = [attributes["href"] for name, attributes in parsed.elements if name == "a"]
    assert links == ["search/2026-11-28_12-00-00_mine/report.html"]


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    folder = finished(tmp_path / os.fsdecode(b"caf\xe9?"))
    (folder / "report.html").touch()
    assert 'href="caf%E9%3F/report.html"' in index(tmp_path)


def test_only_changed_runs_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        finished(tmp_path / name)
    first, heard = index(tmp_path), list[str]()

    def listened(folder: Path) -> Entry:
        heard.append(folder.name)
        return entry(folder)

    monkeypatch.setattr(page, "entry", listened)
    assert index(tmp_path) == first
    assert heard == []
    (tmp_path / "b" / "metrics.json").write_text("{}")
    assert "damaged" in index(tmp_path)
    assert heard == ["b"]
    for damaged in ("{", "[]", '{"format": 1, "runs": {"a": 3}}'):
        (tmp_path / ".index.json").write_text(damaged)
        assert "damaged" in index(tmp_path)
    assert heard == ["b"] + ["a", "b"] * 3


def test_a_run_that_a_process_writes_to_is_running(tmp_path: Path) -> None:
    run(tmp_path / "going")
    run(tmp_path / "killed")
    (tmp_path / "killed" / ".lock").write_text("{}")
    with locked(tmp_path / "going"):
        text = " ".join(Parsed(index(tmp_path)).text.split())
    assert "going search running step 0 of 200" in text
    assert "killed search stopped step 0 of 200" in text


def test_a_sweep_shows_the_cost_of_its_best_trial(swept: Ended, tmp_path: Path) -> None:
    (tmp_path / "sweep").symlink_to(swept.run.parent, target_is_directory=True)
    page.write(tmp_path / "sweep", tmp_path / "page.html", Console(quiet=True))
    rows = json.loads((tmp_path / ".page.json").read_text())["runs"]
    assert len(rows) == 4
    (one,) = (one for _, one in rows.values() if one["command"] == "sweep")
    best = rows[f"{swept.run.name}/search/{one['best']}"][1]
    shown = Parsed((tmp_path / "page.html").read_text())
    values = [at["data-value"] for name, at in shown.elements if name == "td" and "data-value" in at]
    assert values.count(str(best["share"])) >= 2


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_values_of_a_folder_are_text(value: str, tmp_path: Path) -> None:
    run(tmp_path / "run", data={"name": value, "path": value}, seed=value, **{value: value})
    parsed = Parsed(index(tmp_path))
    assert not {"img", "b onclick"} & {name for name, _ in parsed.elements}
    assert not any("onerror" in attributes or "onclick" in attributes for _, attributes in parsed.elements)
    assert sum("alert" in script for script in parsed.scripts) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("runs=no/where",), "runs=no/where: there is no such folder"),
        (("runs=.",), "runs=. has no run folder"),
        (("runs=.", "run=a"), "runs=. and run=a are both given"),
        (("runs=.", "text=a"), "runs=. and text=a are both given"),
        ((), "run is missing; give the folder of a run"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal("visualize", *options)


def test_filter_sort_and_comparison_work_in_a_browser(
    browser: Any, search: Ended, swept: Ended, tmp_path: Path
) -> None:
    entries = {
        "search/first": entry(search.run),
        **{f"sweep/s/search/{path.name}": entry(path) for path in sorted((swept.run / "search").iterdir())},
        "sweep/s": entry(swept.run),
    }
    path = tmp_path / "index.html"
    path.write_text(page.render(entries, set(), tmp_path, tmp_path))
    with opened(browser, path) as shown:
        rows = shown.locator(".runs tbody tr:visible")
        assert rows.count() == 2
        shown.check("#parts")
        assert rows.count() == 5
        shown.fill("#filter", "sweep trial_0001")
        assert rows.count() == 1
        rows.locator("input").check()
        shown.fill("#filter", "first")
        assert rows.count() == 2, "a picked run stays"
        shown.fill("#filter", "")
        shown.locator(".runs tr:has-text('first') input").check()
        assert shown.locator("#overlay figcaption").all_inner_texts() == ["Loss", "Share", "Validation recall"]
        assert shown.locator("#overlay figure:first-child path[stroke]").count() == 2
        differing = shown.locator("#differences tbody th").all_inner_texts()
        assert "trainer.validate_every" in differing
        assert "model.width" not in differing
        shown.locator(".runs thead button", has_text="run").click()
        assert rows.first.inner_text().strip().startswith("Sweep of 5 options on recall")
        trial = next((swept.run / "search").glob("*trial_0001")).name
        named = {f"token_hybrid on recall, {name}" for name in ("first", trial)}
        assert set(shown.locator("#legend span").all_inner_texts()) == named
        assert shown.evaluate("document.documentElement.scrollWidth") <= 1200
        assert violations(shown) == []
