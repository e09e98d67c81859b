"""Seconds for a token: finite, of the steps that were asked for, in the precision that was asked for."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nas.evaluation import latency
from nas.evaluation.latency import WARM_UPS, decode_seconds_per_token, median_seconds, prefill_seconds_per_token
from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from nas.models.routing import first_alone
from tests.nas.architectures import MIXERS, small


@pytest.mark.parametrize("mixer", MIXERS)
def test_seconds_are_finite_and_positive(mixer: str) -> None:
    model = LanguageModel(small(mixer))
    for seconds in (
        prefill_seconds_per_token(model, 9, repeats=2),
        prefill_seconds_per_token(model, 9, batch_size=3, repeats=1),
        decode_seconds_per_token(model, 9, tokens=4, repeats=2),
        decode_seconds_per_token(model, 1, tokens=1, batch_size=3, policy=first_alone, repeats=1),
    ):
        assert math.isfinite(seconds)
        assert seconds > 0


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_repeat_begins_after_the_context_and_in_the_precision(precision: str) -> None:
    asked: list[tuple[int, bool]] = []

    def policy(layer: int, logits: Tensor) -> Tensor:
        asked.append((logits.shape[1], torch.is_autocast_enabled("cpu")))
        return learnt(layer, logits)

    model, mixed = LanguageModel(small("token_hybrid")), precision == "bf16-mixed"
    decode_seconds_per_token(model, 8, tokens=8, policy=policy, precision=precision, repeats=2)
    assert asked == [(2, mixed), (3, mixed), (4, mixed)] * (WARM_UPS + 2)  # a prompt of two chunks, and two more
    asked.clear()
    prefill_seconds_per_token(model, 8, policy=policy, precision=precision, repeats=2)
    assert asked == [(2, mixed)] * (WARM_UPS + 2)


def test_nothing_takes_no_time() -> None:
    model = LanguageModel(small())
    for measured, told in (
        (lambda: prefill_seconds_per_token(model, 0), "length=0"),
        (lambda: decode_seconds_per_token(model, 0), "context=0"),
        (lambda: decode_seconds_per_token(model, 4, tokens=0), "tokens=0"),
        (lambda: decode_seconds_per_token(model, 4, repeats=0), "repeats=0"),
    ):
        with pytest.raises(ValueError, match=f"{told} is not allowed; it must be at least 1"):
            measured()


@pytest.mark.parametrize(("patience", "runs"), [(math.inf, 5), (0.0, 2)])
def test_the_median_is_of_the_runs_after_the_first(monkeypatch: pytest.MonkeyPatch, patience: float, runs: int) -> None:
    clock = iter((0, 100, 0, 7, 0, 1, 0, 2, 0, 9))  # begin and end of a warm-up and four runs
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    done: list[None] = []
    device = torch.device("cpu")
    median = median_seconds(
        device, "32-true", lambda: lambda: done.append(None), repeats=4, warm_ups=1, patience=patience
    )
    assert (median, len(done)) == (4.5 if runs == 5 else 7.0, runs)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_seconds_on_the_gpu(precision: str) -> None:
    model = LanguageModel(small(chunk_size=16)).cuda()
    assert 0 < prefill_seconds_per_token(model, 100, precision=precision) < math.inf
    assert 0 < decode_seconds_per_token(model, 100, tokens=16, precision=precision) < math.inf
