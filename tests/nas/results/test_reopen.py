"""A run that was trained before: what of it is loaded, and its report."""

import json
from pathlib import Path

import pytest

from nas.config import VisualizeConfig
from nas.data.shards.vocabulary import Vocabulary
from nas.files.lock import locked
from nas.results import reopen
from nas.results.reopen import report
from tests.nas.commands import Ended


def test_a_finished_run_has_its_routing_its_figures_and_its_curves(search: Ended) -> None:
    shown = report(VisualizeConfig(run=str(search.run), tokens=64))
    assert shown.quality == "recall"
    assert shown.routing is not None
    assert len(shown.routing.tokens) == 64
    assert [row["step"] for row in shown.history] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in shown.history if "validation_recall" in row] == [3, 6]
    assert len(shown.comparison) == 4
    assert shown.compared is None


def test_two_runs_are_read_on_one_sequence(search: Ended, finished: Path) -> None:
    shown = report(VisualizeConfig(run=str(search.run), compare=str(finished), tokens=64))
    assert shown.compared is not None
    assert shown.compared.routing == shown.routing
    assert shown.differences == []


def test_a_page_made_while_a_run_goes_on_says_so(search: Ended, finished: Path) -> None:
    assert not any("went on" in note for note in report(VisualizeConfig(run=str(search.run), tokens=64)).notes)
    with locked(finished):
        note = report(VisualizeConfig(run=str(finished), tokens=64)).notes[0]
        assert note == "This page was made while the run went on, at step 6 of 6. The final figures are of step 6."
        for name in ("model.safetensors", "metrics.json"):
            (finished / name).unlink()
        beside = report(VisualizeConfig(run=str(search.run), compare=str(finished), tokens=64)).compared
        assert beside is not None
        assert beside.notes[0] == "This page was made while the run went on, at step 6 of 6."


def test_a_page_says_that_a_run_has_gone_on_after_its_figures(editable: Path) -> None:
    metrics = json.loads((editable / "metrics.json").read_text())
    (editable / "metrics.json").write_text(json.dumps(metrics | {"step": 4, "finished": False}))
    notes = report(VisualizeConfig(run=str(editable), tokens=64)).notes
    assert notes[0] == "The run has gone on to step 6 of 6. The final figures are of step 4."


def test_a_run_without_weights_shows_what_it_logged(finished: Path) -> None:
    for name in ("model.safetensors", "metrics.json"):
        (finished / name).unlink()
    shown = report(VisualizeConfig(run=str(finished), tokens=64))
    assert "Its log ends at step 6 of 6." in shown.notes[0]
    assert len(shown.history) == 6
    assert shown.comparison == []


def test_the_begin_token_takes_no_place_of_a_text(of_bytes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.of_bytes()
    vocabulary.begin = 7
    monkeypatch.setattr(reopen, "vocabulary_of", lambda task: vocabulary)
    for prompt, shown, notes in (("abc", 4, []), ("abcd", 4, ["The text is longer"])):
        found = report(VisualizeConfig(run=str(of_bytes), prompt=prompt, tokens=3))
        assert found.routing is not None
        assert len(found.routing.tokens) == shown
        assert [note[:18] for note in found.notes if "longer" in note] == notes
