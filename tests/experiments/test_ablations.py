"""The ablations: the table and figure of given runs, and a study from beginning to end."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from experiments.ablations.__main__ import VARIANTS, main
from experiments.ablations.figure import figure, write_figure
from experiments.ablations.results import BASE, Ablation, Trained, of_run, report
from experiments.runs import MadeRun, RunsFailed, run_all
from nas.data import build_task
from nas.runs.metrics import RetrievingLayer, Row
from tests.nas.commands import ROOT, SEARCH, SMALL, composed, nas
from tests.nas.runs import examples

PRICE, LONGER, CHUNK = Ablation("budget.price=0"), Ablation("data.min_length=128"), Ablation("model.chunk_size=8")
SECOND = Ablation(CHUNK.options, against=LONGER.options)


def run(recall: float = 0.5, planted: float | None = 0.75, **other: Any) -> MadeRun:
    found = None if planted is None else RetrievingLayer(1, planted, planted / 2)
    given = {"learnt": examples.row(quality=recall, share=0.0625), "retrieving_layer": found}
    return MadeRun(examples.metrics(**(given | other)), 90.0)


def steps(*found: tuple[int, float, float]) -> list[dict[str, float]]:
    """Return logged steps: before routing begins, at the target, and validations (step, precision, recall)."""
    names = ("step", "validation_planted_precision", "validation_planted_recall")
    budget = [{"step": 10, "target": 1.0}, {"step": 60, "target": 0.0700001}, {"step": 70, "target": 0.07}]
    return [*budget, *(dict(zip(names, values, strict=True)) for values in found)]


def made(recall: float = 0.5, planted: float | None = 0.75, *found: tuple[int, float, float]) -> Trained:
    return of_run(run(recall, planted), steps(*found))


RUNS = {
    "default": [made(0.5, 0.75, (25, 0.2, 1.0), (50, 0.95, 0.92)), made(0.6, 1.0, (25, 0.1, 0.8), (50, 0.5, 0.95))],
    PRICE.options: [made(0.5, 0.75), made(0.6, 1.0)],
    LONGER.options: [made(0.9, 0.75), made(1.0, 0.75)],
    SECOND.options: [made(0.1, 0.75), made(0.2, 0.75)],
}


def cells(text: str, first: str, number: int = 0) -> dict[str, str]:
    """Return the row that begins with this cell, by column, from the table of this number."""
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n\n")]
    heading, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in list(filter(None, tables))[number]
    ]
    (row,) = (row for row in rows if row[0] == first)
    return dict(zip(heading, row, strict=True))


def test_a_row_has_means_with_ranges_and_the_number_of_seeds() -> None:
    row = cells(report([BASE], {"default": RUNS["default"]}, "f.png"), "default")
    assert row["softmax share"] == "0.062 (0.062 to 0.062)"
    assert row["recall at 1x"] == "0.550 (0.500 to 0.600)"
    assert row["recall at 4x"] == "0.138 (0.125 to 0.150)"
    assert row["planted precision"] == "0.875 (0.750 to 1.000)"
    assert row["planted recall"] == "0.438 (0.375 to 0.500)"
    assert (row["routing began"], row["tightened"], row["seconds"]) == ("21", "60", "90")
    assert row["planted recall >= 0.9"] == "38"
    assert row["and precision"] == "50 (1 of 2)"


def test_runs_without_kept_chunks_and_diverged_runs_count_as_0() -> None:
    budget = replace(examples.metrics().budget, target=0.5, dense_steps=None)
    lost = Row("searched routing", {1: examples.figures(math.nan, share=math.nan)})
    nothing = of_run(run(planted=None, budget=budget, learnt=lost), [])
    row = cells(report([BASE], {"default": [nothing]}, "f.png"), "default")
    assert {row[name] for name in ("recall at 1x", "planted precision", "planted recall")} == {"0.000"}
    assert {row[name] for name in ("routing began", "tightened", "planted recall >= 0.9", "and precision")} == {"-"}


def test_a_difference_is_to_the_reference_of_the_variant_and_has_a_verdict() -> None:
    text = report([BASE, PRICE, LONGER, SECOND], RUNS, "f.png")
    assert cells(text, PRICE.options, 1)["recall at 1x"] == "+0.000 [-0.009, +0.009], p 1.000: within the noise"
    assert cells(text, SECOND.options, 1)["against"] == LONGER.options
    assert re.match(r"-0\.800 \[.*\], p 0\.00\d: worse", cells(text, SECOND.options, 1)["recall at 1x"])
    assert re.match(r"\+0\.400 \[.*\], p 0\.00\d: better", cells(text, LONGER.options, 1)["recall at 1x"])
    assert cells(text, LONGER.options, 1)["planted precision"].endswith("within the noise")
    assert "f.png" in text


def test_one_seed_is_not_tested() -> None:
    single = {name: runs[:1] for name, runs in RUNS.items()}
    assert cells(report([BASE, LONGER], single, "f.png"), LONGER.options, 1)["recall at 1x"] == (
        "+0.400: one seed: not tested"
    )


def lines(drawn: Figure, panel: int) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in drawn.axes[panel].lines]  # type: ignore[arg-type]


def test_the_figure_has_every_curve_of_every_variant(tmp_path: Path) -> None:
    drawn = figure(RUNS)
    assert [axes.get_title(loc="left") for axes in drawn.axes[:4]] == list(RUNS)
    for curve in ([0.2, 0.95], [1.0, 0.92], [0.1, 0.5], [0.8, 0.95]):
        assert ([25, 50], curve) in lines(drawn, 0)
    assert ([25, 50], [1.0, 0.92]) in lines(drawn, 1), "the default for comparison"
    write_figure(tmp_path / "figure.png", RUNS)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("variant", [BASE, *VARIANTS], ids=lambda variant: variant.options)
def test_options_of_every_variant_fit(variant: Ablation) -> None:
    config = composed("search", "+space=token_hybrid", *variant.given)
    task = build_task(config.data, config.seed)
    assert config.data.block_size == config.model.chunk_size
    assert task.train_batch(0).planted is not None
    assert variant.against in {one.options for one in (BASE, *VARIANTS)}


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "good" / "search" / "run"
    folder.mkdir(parents=True)
    made = examples.metrics()
    (folder / "metrics.json").write_text(json.dumps(made.to_json()))
    commands = {tmp_path / "bad": ["nas.no_such_command"], tmp_path / "good": ["nas.no_such_command"]}
    with pytest.raises(RunsFailed, match=r"log\.txt") as error:
        run_all(commands, workers=1)
    assert error.value.failed == [tmp_path / "bad"]
    assert error.value.done == {tmp_path / "good": MadeRun(made, None)}
    assert "no_such_command" in (tmp_path / "bad" / "log.txt").read_text()


@pytest.mark.usefixtures("runs_in_this_process")
def test_missing_runs_are_made_and_finished_runs_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas("search", *SEARCH, f"output={tmp_path}/runs/budget.price_0_0").status == 0
    monkeypatch.chdir(ROOT)
    given = ["--variants", "budget.price=0", "--seeds", "0", "--output", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["ablations", *given, "--table", str(tmp_path / "t.md"), *SMALL])
    for made in (1, 0):
        assert main() == 0
        assert capsys.readouterr().out.count("$ python -m nas.search") == made
    text = (tmp_path / "t.md").read_text()
    assert {cells(text, name)["routing began"] for name in ("default", "budget.price=0")} == {"1"}
    assert "trainer.steps=6" in text
    assert (tmp_path / "t.png").exists()
