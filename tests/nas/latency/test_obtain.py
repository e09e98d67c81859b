"""The latency table of a budget: measured once, cached by machine and sizes, refused where it cannot be measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.config import BudgetConfig, TrainerConfig
from nas.errors import UserError
from nas.latency import obtain
from nas.latency.obtain import CACHE, latencies_of
from nas.latency.table import LATENCIES, Latencies
from nas.runs.folder import Run
from nas.search_spaces.architecture import Architecture, Layer
from tests.nas.architectures import small
from tests.nas.commands import composed
from tests.nas.latency.examples import latency, table
from tests.nas.latency.timing import Timing, timing
from tests.nas.pretrained.written import architecture_of, write_config

__all__ = ["timing"]

LINEAR, SOFTMAX, HYBRID = Layer("linear", 4), Layer("softmax", 4), Layer("token_hybrid", 4)
OPTIONS = ((LINEAR, SOFTMAX), (SOFTMAX, HYBRID))


def configs(*options: str) -> tuple[BudgetConfig, TrainerConfig]:
    config = composed("search", "+space=joint", "budget=latency", "trainer.accelerator=cpu", *options)
    return config.budget, config.trainer


def obtained(*options: str, sizes: Architecture | None = None, layers: Any = OPTIONS, **given: Any) -> Latencies:
    found = latencies_of(*configs(*options), sizes or small("linear"), layers, **given)
    assert found is not None
    return found


def test_other_budgets_measure_nothing(timing: Timing) -> None:
    assert latencies_of(*configs("budget=kv_bytes"), small("linear"), OPTIONS) is None
    assert timing.layers == []


def test_each_option_is_measured_once(timing: Timing) -> None:
    first = obtained()
    assert timing.layers == [LINEAR, SOFTMAX, HYBRID]
    assert first.layers == {layer: latency(layer) for layer in timing.layers}
    assert (first.rest_ms, first.setting.phase, first.setting.context) == (0.25, "decode", 4096)
    timing.factor = 2.0
    assert obtained() == first, "from the cache"
    assert obtained(layers=((LINEAR, replaced := Layer("linear", 8)),)).layers[LINEAR] == latency(LINEAR)
    assert timing.layers[3:] == [replaced]


@pytest.mark.parametrize(
    "options", [("budget.phase=prefill",), ("budget.context=512",), ("trainer.precision=bf16-mixed",)]
)
def test_another_setting_is_measured_anew(timing: Timing, options: tuple[str, ...]) -> None:
    obtained()
    obtained(*options)
    assert timing.layers[3:] == [LINEAR, SOFTMAX, HYBRID]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(obtain, "device_name", "Other GPU"), (obtain, "triton_version", "99"), (obtain, "hash_of_kernels", "abc")],
)
def test_another_machine_is_measured_anew(
    timing: Timing, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: str
) -> None:
    obtained()
    monkeypatch.setattr(module, name, lambda *_: value)
    obtained()
    assert timing.layers[3:] == [LINEAR, SOFTMAX, HYBRID]


def test_sizes_that_count_are_part_of_the_key(timing: Timing) -> None:
    obtained()
    obtained(sizes=small("softmax", "linear"))
    assert len(timing.layers) == 3, "the number of layers does not count"
    obtained(sizes=small("linear", vocab_size=12))
    assert len(timing.layers) == 3, "the vocabulary is outside the layers"
    obtained(sizes=small("linear", width=16))
    assert len(timing.layers) == 6


def test_a_damaged_cache_is_measured_anew(timing: Timing, tmp_path: Path) -> None:
    first = obtained()
    (file,) = tmp_path.rglob(CACHE)
    file.write_text(file.read_text().replace("dropped_ms", "lost"))
    assert obtained() == first
    assert len(timing.layers) == 6


def test_a_resumed_run_has_the_table_of_its_folder(timing: Timing, tmp_path: Path) -> None:
    own = table(*OPTIONS, rest_ms=1 / 3)
    Run(tmp_path).write_json(LATENCIES, own.as_json())
    assert obtained(folder=str(tmp_path)) == own
    assert timing.layers == []
    assert HYBRID in obtained(layers=((LINEAR, HYBRID),), folder=str(tmp_path)).layers
    obtained(layers=((Layer("window", 4),),), folder=str(tmp_path))
    assert timing.layers == [Layer("window", 4)], "not in the folder"


def test_an_unknown_phase(timing: Timing) -> None:
    with pytest.raises(UserError, match=r"budget\.phase=training is unknown; choose one of: decode, prefill\."):
        obtained("budget.phase=training")


def test_a_context_that_no_memory_holds(timing: Timing) -> None:
    with pytest.raises(UserError, match=r"budget\.context=100000000000 does not fit in memory.* give a smaller"):
        obtained("budget.context=100000000000")
    assert timing.layers == []


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory"), ValueError("memory")]
)
def test_a_context_that_turns_out_too_long(timing: Timing, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(obtain, "layer_latency", fail)
    with pytest.raises(UserError, match=r"budget\.context=4096 does not fit in memory"):
        obtained()


def test_other_errors_keep_their_cause(timing: Timing, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(obtain, "layer_latency", fail)
    with pytest.raises(RuntimeError, match="something else"):
        obtained()


def test_a_context_beyond_the_positions_of_a_pretrained_model(timing: Timing, tmp_path: Path) -> None:
    sizes = architecture_of(write_config(tmp_path), "softmax", "softmax")
    assert sizes.backbone is not None
    longest = sizes.backbone.context
    short = replace(sizes.backbone, context=100)
    with pytest.raises(UserError, match=r"budget\.context=4096 is too long .* give budget\.context=100 or less"):
        obtained(sizes=replace(sizes, backbone=short))
    assert obtained(f"budget.context={longest}", sizes=sizes, layers=((SOFTMAX,),)).layers.keys() == {SOFTMAX}
