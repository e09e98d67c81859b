"""Measurement: what is timed, with a clock that counts work instead of seconds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.latency import measure
from nas.latency.measure import layer_latency, layer_milliseconds, model_milliseconds, repeated, rest_milliseconds
from nas.latency.table import LayerLatency
from nas.search_spaces.architecture import Architecture, Layer
from tests.nas.architectures import MIXERS, small
from tests.nas.latency.examples import SETTING
from tests.nas.pretrained.written import architecture_of, write_config

CPU = torch.device("cpu")
SHORT = replace(SETTING, context=9)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "REPEATS", 1)
    monkeypatch.setattr(measure, "STEPS", 4)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_can_be_measured(mixer: str, phase: str) -> None:
    a = repeated(small("linear"), Layer(mixer, 4), 1, 16)
    assert model_milliseconds(a, replace(SHORT, phase=phase), CPU, 0.5) > 0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("mixer", ["softmax", "window", "linear", "token_hybrid"])
def test_layers_of_pretrained_models_can_be_measured(tmp_path: Path, mixer: str) -> None:
    sizes = architecture_of(write_config(tmp_path), "softmax", "softmax")
    a = repeated(sizes, Layer(mixer, 4), 3, 16)
    assert model_milliseconds(a, SHORT, CPU, 0.5) > 0


def test_a_layer_is_the_difference_of_two_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(a: Architecture, setting: Any, device: Any, share: float) -> float:
        assert a.vocab_size == measure.VOCABULARY
        return 5.0 + len(a.layers) * (1.0 + 2.0 * share * share)

    monkeypatch.setattr(measure, "model_milliseconds", fake)
    routed, alone = Layer("token_hybrid", 4), Layer("linear", 4)
    assert layer_latency(small("linear"), routed, SHORT, CPU) == LayerLatency(1.0, 3.0, 0.5)
    assert layer_latency(small("linear"), alone, SHORT, CPU) == LayerLatency(3.0, 3.0)
    monkeypatch.setattr(measure, "model_milliseconds", lambda a, *_: -float(len(a.layers)))
    assert layer_milliseconds(small("linear"), alone, SHORT, CPU, 1.0) == 0, "noise is no negative time"


def test_the_rest_has_the_vocabulary_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "model_milliseconds", lambda a, *_: a.vocab_size + 2.0 * len(a.layers))
    sizes, layer = small(vocab_size=11), Layer("linear", 4)
    assert rest_milliseconds(sizes, layer, LayerLatency(2.0, 2.0), SHORT, CPU) == 11
    assert rest_milliseconds(sizes, layer, LayerLatency(99.0, 99.0), SHORT, CPU) == 0


@pytest.mark.parametrize(("chunk_size", "mixer", "steps"), [(5, "token_hybrid", 35), (5, "linear", 32)])
def test_decoding_steps_are_whole_chunks_after_one_prompt(
    monkeypatch: pytest.MonkeyPatch, chunk_size: int, mixer: str, steps: int
) -> None:
    calls: list[str] = []

    class Counting:
        def __init__(self, *_: Any) -> None: ...

        def prefill(self, tokens: torch.Tensor) -> None:
            calls.append(f"prefill {tokens.shape[1]}")

        def step(self, token: torch.Tensor) -> None:
            calls.append("step")

    def counted(device: Any, precision: str, prepare: Callable[[], Callable[[], None]], **_: Any) -> float:
        assert precision == "32-true"
        before = len(calls)
        prepare()()
        return float(len(calls) - before)

    monkeypatch.setattr(measure, "Decoder", Counting)
    monkeypatch.setattr(measure, "median_seconds", counted)
    a = repeated(small("linear"), Layer(mixer, chunk_size), 1, 16)
    assert model_milliseconds(a, SHORT, CPU, 1.0) == 1000
    assert calls == ["prefill 9", *["step"] * steps]


@pytest.mark.usefixtures("quick")
def test_random_numbers_stay_as_they_were() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    layer_latency(small("linear"), Layer("token_hybrid", 4), SHORT, CPU)
    assert torch.equal(torch.rand(2), expected)
