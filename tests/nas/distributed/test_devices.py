"""What follows from the machine: precision, and the peak that speed is compared with."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from nas import search_spaces
from nas.budget.cost import flops_per_token, training_flops_per_token
from nas.config import TrainerConfig
from nas.distributed.devices import device_name, peak_flops, peak_of, precision_here
from nas.models.language_model import LanguageModel
from tests.nas.architectures import small
from tests.nas.commands import SEARCH, SHORT, Ended, composed, nas


@pytest.mark.parametrize(
    ("accelerator", "has_gpu", "has_bfloat16", "expected"),
    [
        ("auto", True, True, "bf16-mixed"),
        ("gpu", True, True, "bf16-mixed"),
        ("cuda", True, True, "bf16-mixed"),
        ("cpu", True, True, "32-true"),
        ("auto", True, False, "32-true"),
        ("auto", False, False, "32-true"),
    ],
)
def test_auto_is_bfloat16_on_a_gpu_that_has_it(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, has_gpu: bool, has_bfloat16: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert precision_here(TrainerConfig(accelerator=accelerator, precision="auto")) == expected
    assert precision_here(TrainerConfig(accelerator=accelerator, precision="16-mixed")) == "16-mixed"


def test_a_run_tells_the_precision_it_used(search: Ended) -> None:
    assert composed("search", *SEARCH).trainer.precision == "auto"
    assert yaml.safe_load((search.run / "config.yaml").read_text())["config"]["trainer"]["precision"] == "32-true"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H200 NVL", 835.5e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H200 MIG 1g.18gb", None),
        ("Tesla T4", None),
    ],
)
def test_the_peak_of_a_gpu_by_its_name(name: str, expected: float | None) -> None:
    assert peak_of(name) == expected


def test_a_cpu_has_no_peak_and_neither_has_float32() -> None:
    assert peak_flops(torch.device("cpu"), "bf16-mixed") is None
    assert peak_flops(torch.device("cuda"), "32-true") is None


def test_training_is_three_forward_passes_at_the_middle_of_a_sequence() -> None:
    architecture = small("softmax", "linear")
    every = [flops_per_token(architecture, {}, context) for context in range(100)]
    assert training_flops_per_token(architecture, {}, 100) == pytest.approx(3 * sum(every) / 100, rel=0.01)


def test_speed_is_told_and_its_share_only_where_a_peak_is_known(
    search: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads((search.run / "metrics.json").read_text())
    assert found["tokens_per_second"] > 0
    assert found["flops_share"] is None
    assert f"Training throughput: {found['tokens_per_second']:,.0f} tokens per second.\n" in search.out
    monkeypatch.setattr("nas.results.finish.peak_flops", lambda device, precision: 1e9)
    ended = nas("search", *SEARCH, *SHORT, f"output={tmp_path}")
    found = json.loads((ended.run / "metrics.json").read_text())
    assert found["flops_share"] > 0
    assert f"{100 * found['flops_share']:.1f} % of the GPU's peak FLOPs." in ended.out


def test_a_preset_for_a_small_language_model() -> None:
    config = composed("train", "architecture=linear-softmax", "experiment=small_lm", "data.path=tokens")
    assert config.trainer.steps * config.data.batch_size * config.data.length == pytest.approx(393e6, rel=1e-3)
    space = search_spaces.build(composed("search", "+space=token_hybrid", "model=30m").space, config.model, 16384)
    with torch.device("meta"):
        model = LanguageModel(space.sizes, "full", space.options)
    assert 25e6 < sum(p.numel() for p in model.parameters()) < 30e6


@pytest.mark.parametrize("command", ["search", "train"])
def test_a_preset_for_one_gpu(command: str) -> None:
    given = "+space=token_hybrid" if command == "search" else "architecture=softmax"
    config = composed(command, given, "experiment=one_gpu")
    assert (config.model.name, config.data.name, config.data.length) == ("340m", "text", 4096)
    changed = composed(command, given, "experiment=one_gpu", "model=tiny", "data.length=512", "trainer.steps=3")
    assert (changed.model.name, changed.data.length, changed.trainer.steps) == ("tiny", 512, 3)


def test_the_name_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: "processor: 0\nmodel name\t: Some CPU\n")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert device_name(torch.device("cuda")) == "NVIDIA H200"
    assert device_name(torch.device("cpu")) == "Some CPU, 8 cores"
    assert device_name(torch.device("mps")) == "mps"
