"""The end of a run: one value is measured, written and printed, whatever was looked at before."""

import json

import pytest
import torch

from nas.models.language_model import LanguageModel
from nas.models.policies import keep_all, learnt
from nas.runs.folder import load_architecture, load_weights
from nas.runs.metrics import read_metrics
from tests.nas.commands import Ended


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
