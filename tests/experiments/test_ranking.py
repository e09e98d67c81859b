"""The ranking study: its tables of given runs, and a study from beginning to end."""

import re
import sys
from pathlib import Path

import pytest

from experiments.ranking import results
from experiments.ranking.__main__ import main
from nas.runs.metrics import Choice, Metrics
from tests.nas.commands import BATCHES, DATA, MODEL, ROOT, TRAINER
from tests.nas.runs.examples import metrics, row

LOSSES = {"ss": [0.0, 0.0], "sl": [0.0, 0.2], "ls": [1.0, 1.2], "ll": [2.0, 2.4]}


def run(loss: float, *found: str) -> Metrics:
    choices = tuple(Choice(layer, name) for layer, name in enumerate(found))
    return metrics(learnt=row("trained model", 1 - loss / 4, loss=loss), choices=choices)


def scores(**losses: float) -> results.Scores:
    return {pattern: results.Score(loss, 1 - loss / 4) for pattern, loss in losses.items()}


ALONE = {pattern: [run(loss) for loss in losses] for pattern, losses in LOSSES.items()}


def report(**shared: list[results.Scores]) -> str:
    searched = {"gdas": [run(0.1, "softmax", "linear"), run(0.3, "linear", "linear")]}
    return results.report(ALONE, shared, searched, budget=0.5)


def cells(text: str, first: str) -> list[str]:
    """Return the row of a table that begins with this cell."""
    (row,) = re.findall(rf"^\| {re.escape(first)} +\| (.*) \|$", text, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


def test_the_same_order_has_a_tau_of_one_and_the_reverse_of_minus_one() -> None:
    same, reverse = scores(ss=0.1, sl=0.2, ls=0.3, ll=0.4), scores(ss=0.4, sl=0.3, ls=0.2, ll=0.1)
    text = report(same=[same, same], reverse=[reverse, same])
    assert cells(text, "same")[:2] == ["1.000 1.000", "1.000"]
    assert cells(text, "reverse")[:2] == ["-1.000 1.000", "0.000"]


def test_what_the_tables_show_as_equal_is_a_tie() -> None:
    nearly = scores(ss=0.10002, sl=0.10001, ls=0.3, ll=0.4)
    assert float(cells(report(nearly=[nearly]), "nearly")[1]) > 0.9


def test_selected_patterns_have_their_recall_alone_and_a_rank_within_the_budget() -> None:
    picked, place, recall, _ = cells(report(same=[scores(ss=0.0, sl=0.2, ls=0.1, ll=0.3)]), "gdas")
    assert picked == "sl ll"
    assert place == "1 3", "ss costs more than the budget"
    assert abs(float(recall) - ((1 - 0.1 / 4) + (1 - 2.2 / 4)) / 2) < 1e-3
    assert cells(report(same=[scores(ss=0.0, sl=0.2, ls=0.1, ll=0.3)]), "single path, same; best score")[0] == "ls"


def test_random_search_over_all_that_is_allowed_finds_the_best() -> None:
    text = report(same=[scores(ss=0.0, sl=0.2, ls=0.1, ll=0.3)])
    assert float(cells(text, "3")[0]) == round(1 - 0.1 / 4, 3)
    assert float(cells(text, "1")[0]) < float(cells(text, "2")[0]) < float(cells(text, "3")[0])


@pytest.mark.usefixtures("runs_in_this_process")
def test_it_runs_from_beginning_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [*MODEL, *DATA, *BATCHES, *TRAINER, "data.length_factors=[1]", "trainer.steps=2"]
    options = ["--layers", "1", "--seeds", "0", "--search-seeds", "0", "--relaxations", "gdas"]
    places = ["--output", str(tmp_path), "--table", str(tmp_path / "t.md")]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["ranking", *options, *places, *small])
    main()
    table = (tmp_path / "t.md").read_text()
    assert cells(table, "gdas")[0] in ("s", "l")
