"""The page of a comparison: its numbers, its links, and names that are harmful as HTML."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nas.comparisons.page import _quality, page, write
from nas.comparisons.summary import Summary, value
from nas.comparisons.verdict import verdict
from nas.errors import UserError
from nas.files.lock import locked
from nas.report.units import number
from tests.nas.architectures import small
from tests.nas.comparisons.examples import by_seed, comparison, recall
from tests.nas.sweeps.test_page import SCRIPT, rows, specs


def test_tables_and_charts_have_the_figures_of_the_comparison(tmp_path: Path) -> None:
    summary = Summary.of(recall())
    made = page(summary, tmp_path, tmp_path)
    for row in summary.rows:
        for factor in summary.comparison.factors:
            mean = value(row, f"quality_{factor}x")
            assert f'data-value="{mean}">{number(mean)} [' in made
    charts = specs(made)
    assert set(charts) == {
        *("chart-share-1", "chart-share-8", "chart-kv_bytes-1", "chart-kv_bytes-8"),
        "chart-length",
    }
    marks = {row["name"]: row for row in rows(charts["chart-share-8"]) if "name" in row}
    assert {name: row["y"] for name, row in marks.items()} == {
        str(row["model"]): pytest.approx(value(row, "quality_8x"), rel=1e-4) for row in summary.rows
    }
    curve = [row["value"] for row in rows(charts["chart-length"]) if row.get("line") == "softmax"]
    (softmax,) = (row for row in summary.rows if row["model"] == "softmax")
    assert curve == [pytest.approx(value(softmax, f"quality_{factor}x"), rel=1e-4) for factor in (1, 2, 4, 8)]
    assert made.count("<td>within the noise</td>") == sum(pair.verdict == "within the noise" for pair in summary.pairs)


def test_the_title_and_the_first_paragraph_answer_and_only_what_is_better_is_bold(tmp_path: Path) -> None:
    found = replace(by_seed("mine", 0.9, 0.91, 0.92), searched=True)
    others = by_seed("softmax", 0.5, 0.51, 0.53), by_seed("linear", 0.1, 0.11, 0.1)
    summary = Summary.of(comparison(found, *others))
    made = page(summary, tmp_path, tmp_path)
    assert "<title>Comparison on associative recall: 3 models, 3 seeds</title>" in made
    origin, first = re.findall(r"<p[^>]*>([^<]*)", made)[:2]
    assert origin == f"Folder {tmp_path.name}"
    assert first.startswith(" ".join(verdict(summary)))
    assert verdict(summary)[0].startswith("mine beats softmax")
    assert re.search(r"mine has a softmax share of \S+ and a cache of \S+ \S+ at \S+ tokens\. softmax has", first)
    bold = re.findall(r'class="number ahead" data-value="([^"]*)"', made)
    assert bold == [str(value(summary.rows[0], "quality_1x"))]
    noise = Summary.of(comparison(found, by_seed("softmax", 0.9, 0.91, 0.92)))
    assert not any(cell.ahead for row in _quality(noise, {"mine": [], "softmax": []}).rows for cell in row.cells)


def test_an_unfinished_comparison_says_whether_it_goes_on(tmp_path: Path) -> None:
    config = {"data": {"name": "text"}, "runs": [], "baselines": ["softmax", "linear"], "seeds": 2}
    (tmp_path / "config.yaml").write_text(json.dumps({"command": "compare", "config": config}))
    (tmp_path / "train" / "first").mkdir(parents=True)
    with locked(tmp_path), locked(tmp_path / "train" / "first"):
        write(tmp_path, tmp_path / "page.html")
    made = (tmp_path / "page.html").read_text()
    assert "<title>Comparison on text: 2 models, 2 seeds</title>" in made
    assert "This page was made while the comparison went on: 0 trainings done so far." in made
    assert "<td>running</td>" in made
    write(tmp_path, tmp_path / "page.html")
    made = (tmp_path / "page.html").read_text()
    assert "Not finished: 0 trainings done so far. No process here goes on with it;" in made
    assert "<td>stopped</td>" in made


def test_links_lead_to_the_trainings_that_are_there(tmp_path: Path) -> None:
    names = ["2026-01-01_00-00-00_softmax_lr0.002_seed0", "2026-01-02_00-00-00_softmax_lr0.002_seed0"]
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    for name in (*names, "2026-01-01_00-00-00_not_softmax_lr0.002_seed0"):
        (folder / "train" / name).mkdir(parents=True)
        (folder / "train" / name / "report.html").touch()
    summary = Summary.of(comparison(by_seed("softmax", 0.5, 0.6), by_seed("linear", 0.4, 0.5)))
    (tmp_path / "pages").mkdir()
    made = page(summary, folder, tmp_path / "pages")
    assert re.findall(r'<a href="([^"]*)">([^<]*)', made) == [(f"../caf%E9/train/{names[1]}/report.html", "seed 0")]


def test_hybrid_layers_tell_their_share_over_seeds(tmp_path: Path) -> None:
    hybrid = by_seed("routed", 0.5, 0.6)
    hybrid = replace(hybrid, architecture=small("linear", "token_hybrid").to_dict())
    summary = Summary.of(comparison(hybrid))
    assert '%"' not in page(summary, tmp_path, tmp_path).split("<h2>Layers</h2>")[1].split("</table>")[0]
    for seed, share in enumerate((0.25, 0.75)):
        run = tmp_path / "train" / f"2026-01-01_00-00-00_routed_lr{hybrid.learning_rate:g}_seed{seed}"
        run.mkdir(parents=True)
        (run / "report.html").touch()
        (run / "architecture.json").write_text(json.dumps({"measured": {"shares": {"1": [share, share]}}}))
    assert "hybrid, 50 % softmax" in page(summary, tmp_path, tmp_path)


def test_one_model_one_seed_and_costs_that_are_not_known_leave_charts_out(tmp_path: Path) -> None:
    one = by_seed("softmax", 0.5)
    runs = tuple(replace(run, share={1: math.nan}, kv_bytes=dict.fromkeys(run.kv_bytes, math.nan)) for run in one.runs)
    made = page(Summary.of(comparison(replace(one, runs=runs))), tmp_path, tmp_path)
    assert 'id="charts"' not in made
    assert "One seed: no difference was tested." in made
    assert "Pairwise tests" not in made


def test_nothing_hostile_becomes_an_element(tmp_path: Path) -> None:
    made, harmless = (
        page(Summary.of(comparison(by_seed(name, 0.5, 0.6), by_seed("b", 0.4, 0.5))), tmp_path, tmp_path)
        for name in (SCRIPT, "a")
    )
    assert made.count("<script") == harmless.count("<script")
    assert made.count("alert(1)") > 3


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.yaml is missing or damaged"):
        write(tmp_path, tmp_path / "page.html")
    (tmp_path / "config.yaml").write_text("command: sweep\nconfig: {}\n")
    with pytest.raises(UserError, match=r"is a run of nas\.sweep, not of nas\.compare"):
        write(tmp_path, tmp_path / "page.html")
    (tmp_path / "config.yaml").write_text("command: compare\nconfig: {}\n")
    (tmp_path / "comparison.json").write_text(json.dumps({"task": "recall"}))
    with pytest.raises(UserError, match=r"comparison\.json is damaged: Comparison misses fields"):
        write(tmp_path, tmp_path / "page.html")
