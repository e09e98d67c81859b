"""`metrics.json`: written and read again, by this version and as earlier versions wrote it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.evaluation.evaluate import Evaluation
from nas.evaluation.noise import Estimate
from nas.evaluation.planted import Counts, Found
from nas.runs.candidate import Candidate
from nas.runs.metrics import Figures, Metrics, Row, Searched, is_finished, read_metrics
from tests.nas.runs.examples import figures, metrics, row

WITHOUT_LEARNT = Path(__file__).parent / "metrics_without_learnt.json"
"""As a search wrote it before the file named the row that was learnt."""


def through_text(given: Metrics) -> Metrics:
    return Metrics.from_json(json.loads(json.dumps(given.to_json(), allow_nan=False)))


def test_metrics_come_back_from_json() -> None:
    best = Candidate((0, 1), ("softmax", "linear"), 0.5, 1.0, 0.25, 0.125)
    given = metrics(
        searched=Searched("random", 3, best, 0.5, 1.5),
        learnt=row(by_position=[(16, 2.5), (32, 2.25)]),
        notes=("Stopped.",),
    )
    assert through_text(given) == given


def test_what_is_not_finite_comes_back_as_nan() -> None:
    lost = figures(
        math.nan, loss=math.inf, share=math.nan, shares={1: [0.5, math.nan]}, found={1: [Found(math.nan, 1)]}
    )
    given = metrics(learnt=Row("trained model", {1: lost}), tokens_per_second=None)
    back = through_text(given)
    own = back.learnt.at_training_length
    assert all(map(math.isnan, (own.quality, own.loss, own.share, own.shares[1][1], own.found[1][0].precision)))
    assert (own.shares[1][0], own.found[1][0].recall) == (0.5, 1)
    assert back.tokens_per_second is None


def test_the_row_that_was_learnt_is_named_wherever_it_stands() -> None:
    written = metrics(learnt=row("b"), controls=(row("a", 0.25), row("c", 0.125))).to_json()
    assert written["learnt"] == "b"
    written["routings"] = {name: written["routings"][name] for name in "abc"}
    back = Metrics.from_json(written)
    assert back.learnt.name == "b"
    assert [one.name for one in back.rows] == ["b", "a", "c"]
    del written["learnt"]
    assert Metrics.from_json(written).learnt.name == "a", "the first, where the file does not say"


def test_a_file_of_an_earlier_version_has_the_same_figures() -> None:
    given = json.loads(WITHOUT_LEARNT.read_text())
    read = Metrics.from_json(given)
    assert read.learnt.name == "found architecture"
    assert read.searched is not None
    assert read.searched.best is not None
    written = json.loads(json.dumps(read.to_json()))
    assert written.pop("learnt") == "found architecture"
    added = ("chance", "verdict", "ahead", "failure", "original")
    assert [written.pop(later) for later in added] == [None, [], False, None, None]
    for by_length in (length for lengths in written["routings"].values() for length in lengths.values()):
        assert [by_length.pop(later) for later in ("margin", "lead", "loss_by_position", "kv_bytes")] == [None] * 4
    assert written["searched"].pop("training_flops") is None
    assert written.pop("stages") == {}
    assert written == given
    assert list(written) == list(given)


def test_the_original_is_one_of_the_rows() -> None:
    given = metrics(original=Row("original", {1: figures(0.9, kv_bytes=4096)}))
    assert [one.name for one in given.rows] == ["searched routing", "all linear", "original"]
    written = json.loads(json.dumps(given.to_json()))
    assert written["original"] == "original"
    assert written["routings"]["original"]["1x"]["kv_bytes"] == 4096
    assert Metrics.from_json(written) == given
    with pytest.raises(ValueError, match="original is 'none'; it must be null or one of routings: searched routing"):
        Metrics.from_json(written | {"original": "none"})


def test_keys_of_other_versions_are_no_matter() -> None:
    given = metrics(searched=None).to_json()
    for name in ("tokens_per_second", "flops_share", "choices", "searched", "notes", "retrieving_layer"):
        del given[name]
    read = Metrics.from_json(given | {"energy": 3.0})
    assert read.searched is read.choices is read.retrieving_layer is read.tokens_per_second is None
    assert read.notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routings": {}}, "learnt is 'searched routing'; it must be one of routings: none."),
        ({"routings": None}, "routings is NoneType; it must be an object."),
        ({"learnt": "other"}, "learnt is 'other'; it must be one of routings: searched routing, all linear."),
        ({"learnt": []}, "learnt is []; it must be one of routings: searched routing, all linear."),
        ({"cost": {"parameters": 3}}, "metrics.cost has no kv_bytes; it has: parameters."),
        ({"finished": "yes"}, "metrics.finished is 'yes', which is not of type bool."),
        ({"quality": 3}, "metrics.quality is 3, which is not of type str."),
        ({"routings": {"searched routing": {"2x": None}}}, "routings.searched routing.2x is NoneType; it must be an"),
        ({"routings": {"searched routing": {"1": {}}}}, "routings.searched routing.1 has no quality; it has: nothing."),
        ({"routings": {"searched routing": {"half": {}}}}, "routings has a key 'half', which is not a whole number."),
        ({"routings": {"searched routing": {}}}, "routings.searched routing has no 1x, the figures at the training"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_damaged_file_is_said(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    given = metrics().to_json() | change
    with pytest.raises(ValueError) as raised:
        Metrics.from_json(given)
    assert str(raised.value).startswith(message)
    (tmp_path / "metrics.json").write_text(json.dumps(given))
    with pytest.raises(ValueError, match=r"metrics\.json is damaged: "):
        read_metrics(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "null"])
def test_a_file_that_is_missing_or_no_json(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.json is missing or is not JSON"):
        read_metrics(tmp_path)
    assert not is_finished(tmp_path)


@pytest.mark.parametrize(
    ("text", "finished"), [('{"finished": true}', True), ('{"finished": false}', False), ("{}", False), ("[]", False)]
)
def test_whether_a_run_is_finished(tmp_path: Path, text: str, finished: bool) -> None:
    (tmp_path / "metrics.json").write_text(text)
    assert is_finished(tmp_path) is finished


def test_figures_are_those_of_an_evaluation() -> None:
    counts = {1: Counts(3, 4, 6)}
    evaluation = Evaluation(0.5, 1.25, {1: [0.25, 0.75]}, {1: [Found(0.5, 0.25)]}, counts, [(16, 1.5)], [0.25, 0.75])
    learnt = replace(evaluation, by_sequence=[1.0, 0.5])
    made = Figures.of(evaluation, 0.125, learnt)
    assert Figures.of(learnt, 0.125).lead is None
    assert made == Figures(
        quality=0.5,
        by_position=[(16, 1.5)],
        loss=1.25,
        share=0.125,
        shares={1: [0.25, 0.75]},
        found={1: [Found(0.5, 0.25)]},
        found_by_layer={1: Found(0.75, 0.5)},
        margin=Estimate.of([0.25, 0.75]).margin,
        lead=Estimate.of([0.75, -0.25]),
    )
