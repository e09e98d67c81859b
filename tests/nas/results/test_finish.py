"""The end of a run: one value is measured, written and printed, whatever was looked at before."""

import json
from pathlib import Path

import pytest
import torch

from nas.models.language_model import LanguageModel
from nas.models.policies import keep_all, learnt
from nas.runs.folder import Run
from nas.runs.history import history
from nas.runs.metrics import read_metrics
from nas.runs.model_files import load_architecture, load_weights
from tests.nas.commands import SEARCH, Ended, nas
from tests.nas.sweeps.sweeping import diverging_above


def test_what_is_written_is_of_the_row_that_was_learnt(search: Ended) -> None:
    metrics = read_metrics(search.run)
    own = metrics.learnt.at_training_length
    found = json.loads((search.run / "architecture.json").read_text())
    assert metrics.learnt.name == "searched routing"
    assert [row.name for row in metrics.controls] == ["random, same share", "all softmax", "all linear"]
    assert found["measured"] == {
        "quality": {"recall": own.quality},
        "share": own.share,
        "shares": {str(layer): heads for layer, heads in own.shares.items()},
    }
    assert metrics.budget.used == pytest.approx(own.share)
    written = json.loads((search.run / "metrics.json").read_text())
    assert written["learnt"] == "searched routing"
    assert json.loads(json.dumps(metrics.to_json())) == written


def test_a_loaded_model_routes_as_its_routers_say(search: Ended) -> None:
    """Without a policy a model does what was learnt, not softmax attention alone."""
    model = LanguageModel(load_architecture(search.run / "architecture.json")).eval()
    load_weights(model, search.run / "model.safetensors")
    tokens = torch.arange(64)[None] % 24
    with torch.no_grad():
        own = model(tokens)
        as_learnt, all_softmax = model(tokens, learnt), model(tokens, keep_all)
    assert own.routing.keys() == as_learnt.routing.keys() == {0, 1}
    assert torch.equal(own.logits, as_learnt.logits)
    assert not torch.equal(own.logits, all_softmax.logits)


def figures(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_a_search_that_diverges_ends_and_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging_above(1, monkeypatch)
    ended = nas("search", *SEARCH, "trainer.learning_rate=10", f"output={tmp_path}")
    assert ended.status == 1, ended.err
    assert figures(ended.run)["routings"]["searched routing"]["1x"]["loss"] is None
    assert "The training diverged by step" in ended.out
    assert "The training diverged by step" in (ended.run / "report.html").read_text()
    assert not list(ended.run.glob("checkpoints/*"))


def test_a_search_that_keeps_nothing_has_failed_and_says_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.results.measure.chance_of", lambda task: -1.0)  # so few steps teach nothing
    given = (f"output={tmp_path}", "budget.target=0.001", "budget.tighten_over=0", "trainer.router_learning_rate=1")
    ended = nas("search", *SEARCH, *given)
    assert ended.status == 0, ended.err
    written = figures(ended.run)
    assert written["routings"]["searched routing"]["1x"]["share"] == 0
    assert written["failure"]["dropped_layers"] == [0, 1]
    for text in (written["verdict"][0], ended.out, (ended.run / "report.html").read_text()):
        assert "The search has failed: routers keep no chunk that matters" in text
        assert "Try half of trainer.learning_rate" in text
    assert history(Run(ended.run))[-1]["share/layer_1"] < 1
