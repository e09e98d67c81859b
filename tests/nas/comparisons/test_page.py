"""The page of a comparison: its numbers, its links, and names that are harmful as HTML."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nas.comparisons.page import page, write
from nas.comparisons.summary import Summary, value
from nas.errors import UserError
from nas.report.units import number
from tests.nas.architectures import small
from tests.nas.comparisons.examples import by_seed, comparison, recall, text
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


def test_bits_by_position_are_a_chart(tmp_path: Path) -> None:
    charts = specs(page(Summary.of(text()), tmp_path, tmp_path))
    assert len([row for row in rows(charts["chart-position"]) if row.get("line") == "linear"]) == 16


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
