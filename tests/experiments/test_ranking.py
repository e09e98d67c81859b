"""The ranking study: its tables of given runs, and a study from beginning to end."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.ranking import predictors, results, searchers
from experiments.ranking.__main__ import TASKS, main
from experiments.ranking.scores import Alone, Score, Scores, Supernet
from nas.data import build_task
from nas.runs.metrics import Choice, Metrics
from tests.nas.commands import DATA, ROOT, composed
from tests.nas.runs.examples import metrics, row

LOSSES = {"ss": [0.0, 0.0], "sl": [0.0, 0.2], "ls": [1.0, 1.2], "ll": [2.0, 2.4]}
FIRST = "index of the first softmax layer, earlier is better"


def run(loss: float, *found: str) -> Metrics:
    choices = tuple(Choice(layer, name) for layer, name in enumerate(found))
    return metrics(learnt=row("trained model", 1 - loss / 4, loss=loss), choices=choices)


def scores(**losses: float) -> Scores:
    return {pattern: Score(loss, 1 - loss / 4) for pattern, loss in losses.items()}


RUNS = {pattern: [run(loss) for loss in losses] for pattern, losses in LOSSES.items()}


def report(factor: int = 1, **shared: list[Scores]) -> str:
    searched = {"gdas": [run(0.1, "softmax", "linear"), run(0.3, "linear", "linear")]}
    supernets = {kind: [Supernet(one, 6400) for one in by_seed] for kind, by_seed in shared.items()}
    return results.report(Alone(RUNS, factor, budget=0.5), supernets, searched)


def cells(text: str, first: str, number: int = 0) -> list[str]:
    """Return the row, of this number, that begins with this cell."""
    rows = re.findall(rf"^\| {re.escape(first)} +\| (.*) \|$", text, re.MULTILINE)
    return [cell.strip() for cell in rows[number].split("|")]


def test_the_same_order_has_a_tau_of_one_and_the_reverse_of_minus_one() -> None:
    same, reverse = scores(ss=0.1, sl=0.2, ls=0.3, ll=0.4), scores(ss=0.4, sl=0.3, ls=0.2, ll=0.1)
    text = report(same=[same, same], reverse=[reverse, same])
    assert cells(text, "same")[:3] == ["1.000 1.000", "1.000", "1.000 to 1.000"]
    assert cells(text, "reverse")[:2] == ["-1.000 1.000", "0.000"]


def test_what_the_tables_show_as_equal_is_a_tie() -> None:
    nearly = scores(ss=0.10002, sl=0.10001, ls=0.3, ll=0.4)
    assert float(cells(report(nearly=[nearly]), "nearly")[1]) > 0.9


def test_predictors_without_training_are_ranked_beside_supernets() -> None:
    text = report(same=[scores(ss=0.1, sl=0.2, ls=0.3, ll=0.4)])
    true = [0.0, 0.1, 1.1, 2.2]  # of ss, sl, ls, ll
    expected = {
        FIRST: [0, 0, 1, 2],
        "number of softmax layers, more is better": [0, 1, 1, 2],
        "index of the last softmax layer, later is better": [0, 1, 0, 2],
    }
    for name, ranks in expected.items():
        by_loss, _, _, by_quality, *_ = cells(text, name)
        assert by_loss == by_quality == f"{predictors.tau(ranks, true):.3f}"


def test_the_interval_is_of_the_tau_of_resampled_patterns() -> None:
    draw = np.random.default_rng(1)
    predicted, true = draw.integers(5, size=12), draw.normal(size=12)
    drawn = draw.multinomial(12, [1 / 12] * 12, size=3).astype(float)
    taus = predictors._taus(predicted, true, drawn)
    for tau, counts in zip(taus, drawn.astype(int), strict=True):
        assert tau == pytest.approx(predictors.tau(list(np.repeat(predicted, counts)), list(np.repeat(true, counts))))
    low, high = predictors.interval([(list(predicted), list(true))])
    assert low < predictors.tau(list(predicted), list(true)) < high


def test_selected_patterns_have_their_recall_alone_a_rank_and_a_regret_within_the_budget() -> None:
    text = report(same=[scores(ss=0.0, sl=0.2, ls=0.1, ll=0.3)])
    tokens, picked, place, recall, regret, _ = cells(text, "gradient, gdas")
    assert (tokens, picked) == ("6.40 k", "sl ll")
    assert place == "1 3", "ss costs more than the budget"
    assert abs(float(recall) - ((1 - 0.1 / 4) + (1 - 2.2 / 4)) / 2) < 1e-3
    assert abs(float(regret) - (2.2 - 0.1) / 4 / 2) < 1e-3
    assert cells(text, "same; best score of all")[1] == "ls"
    assert cells(text, f"{FIRST}; mean over equals")[1:3] == ["sl", "1"]
    at_4x = cells(report(factor=4, same=[scores(ss=0.0, sl=0.2, ls=0.1, ll=0.3)]), "gradient, gdas")
    assert abs(float(at_4x[4]) - (2.2 - 0.1) / 16 / 2) < 1e-3


def test_random_search_over_all_that_is_allowed_finds_the_best() -> None:
    text = report(same=[scores(ss=0.0, sl=0.2, ls=0.1, ll=0.3)])
    tokens, recall, regret = cells(text, "3")
    assert (tokens, float(recall), regret) == ("19.2 k", round(1 - 0.1 / 4, 3), "+0.000")
    assert float(cells(text, "1")[1]) < float(cells(text, "2")[1]) < float(cells(text, "3")[1])


def test_searchers_select_the_best_of_what_they_score_within_the_budget() -> None:
    patterns = ["".join(letters) for letters in itertools.product("sl", repeat=4)]
    known = {pattern: Score(predictors.first(pattern), 1 - predictors.first(pattern) / 4) for pattern in patterns}
    allowed = [pattern for pattern in patterns if pattern.count("s") <= 2]
    for settings in searchers.searchers(4).values():
        assert settings.evaluations == 4
        chosen = {searchers.choose(settings, known, allowed, "recall", seed) for seed in range(8)}
        assert chosen <= set(allowed)
        settings.evaluations = len(allowed)
        assert searchers.choose(settings, known, allowed, "recall", 0).startswith("s"), "all were scored"
    assert len(chosen) > 1, "random search depends on its seed"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_made(task: str) -> None:
    config = composed("train", "architecture=softmax", *TASKS[task])
    assert build_task(config.data, 0).train_batch(0).tokens.shape[0] == config.data.batch_size


@pytest.mark.usefixtures("runs_in_this_process")
def test_it_runs_from_beginning_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--smoke", "--layers", "1", "--searches", "gdas", "--output", str(tmp_path), *DATA]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["ranking", *options])
    main()
    table = (tmp_path / "recall_1_layers.md").read_text()
    assert cells(table, "gradient, gdas")[1] in ("s", "l")
    assert "left of 5 runs: 5 trainings, 10 steps" in capsys.readouterr().out
