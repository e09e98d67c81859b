"""Thresholds by share: the largest share that does not exceed what is allowed, calibrated once."""

import json
import math
from pathlib import Path

import pytest
import torch

from nas.data.batch import Batch
from nas.errors import UserError
from nas.evaluation.evaluate import evaluate
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.models.policies import drop_all, keep_all
from nas.results.opened import open_run
from nas.shares import thresholds
from nas.shares.thresholds import THRESHOLDS, Threshold, calibrated, threshold_of
from tests.nas.architectures import small


@pytest.mark.parametrize("share", [0.03, 0.9])
def test_the_threshold_keeps_the_largest_share_that_is_allowed(share: float) -> None:
    torch.manual_seed(0)
    model = LanguageModel(small("token_hybrid", "linear", "token_hybrid", chunk_sizes=(4, 4, 8))).eval()
    batches = [Batch(tokens := torch.randint(11, (8, 64)), tokens, None) for _ in range(2)]
    found = calibrated(model, batches, share)
    measured = evaluate(model, batches, "recall", found.policy).share
    assert measured == pytest.approx(found.share)
    assert 0.9 * share < found.share <= share + 1e-6
    decoder, tokens = Decoder(model, found.policy), batches[0].tokens
    decoder.prefill(tokens[:, :10])
    for token in tokens[:, 10:].T:
        logits = decoder.step(token)
    assert torch.allclose(logits, model(tokens, found.policy).logits[:, -1], atol=1e-5)


def test_thresholds_are_kept_in_the_run_folder_with_the_weights(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "BATCHES", 4)
    opened = open_run("run", str(finished))
    first = threshold_of(opened, 0.25)
    with monkeypatch.context() as patch:
        patch.setattr(thresholds, "calibrated", None)  # is not called again
        assert threshold_of(opened, 0.25) == first
    stored = json.loads((finished / THRESHOLDS).read_text())
    assert stored == {"weights": opened.weights, "thresholds": {"1x 0.25": first._asdict()}}
    opened.run.write_json(THRESHOLDS, stored | {"weights": "of others", "thresholds": {"1x 0.25": {"value": 9}}})
    assert threshold_of(opened, 0.25) == first
    assert threshold_of(opened, 0) == Threshold(math.inf, 0.0)
    assert threshold_of(opened, 0).policy is drop_all
    assert threshold_of(opened, 1).policy is keep_all


def test_a_run_whose_routers_decide_nothing_is_refused(finished: Path) -> None:
    opened = open_run("run", str(finished))
    linear = opened._replace(model=LanguageModel(small("linear")))
    with pytest.raises(UserError, match=r"share=0\.1 moves the thresholds of routers, but no router of run=.* decides"):
        threshold_of(linear, 0.1)
