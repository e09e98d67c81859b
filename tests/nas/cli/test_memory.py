"""Memory and time of a training, estimated before it starts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.cli import memory
from nas.cli.memory import GIB, Sizes, check_memory
from nas.config import RunConfig
from nas.errors import UserError
from nas.models.language_model import LanguageModel, count_parameters
from nas.search_spaces import baselines
from tests.nas.architectures import small
from tests.nas.commands import composed

CPU = torch.device("cpu")


def config_of(*options: str) -> RunConfig:
    config: RunConfig = composed("train", "architecture=linear", *options)
    return config


@pytest.mark.parametrize("options", [(), ("data=mqar", "model=340m"), ("model=760m", "model.tie_embeddings=true")])
def test_the_estimate_of_parameters_is_at_most_their_number(options: tuple[str, ...]) -> None:
    config = config_of(*options)
    vocabulary = 8192 if "data=mqar" in options else 192
    architecture = baselines.build("linear", config.model, vocabulary, 0.1)
    assert architecture is not None
    with torch.device("meta"):
        number = count_parameters(LanguageModel(architecture))
    assert 0.7 * number < Sizes.of(config).parameters <= number


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("model.width=1000000", "model.width=1000000, "),
        ("model.mlp_width=10000000", "model.mlp_width=10000000, "),
        ("data.keys=100000000", "data.keys=100000000, "),
        ("data.noise=100000000", "data.words=64, data.noise=100000000"),
        ("data.length=1000000000", "data.length=1000000000, "),
        ("data.batch_size=10000000", "data.batch_size=10000000, "),
        ("data.validation_batches=1000000", "data.validation_batches=1000000, "),
    ],
)
def test_what_has_no_room_is_refused_with_its_size(
    option: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 8 * GIB)
    task = ("data=ruler",) if "noise" in option else ()
    check_memory(config_of(*task), CPU)
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"need at least [\d,]+ GiB for .*, but this machine has 8 GiB") as refused:
        check_memory(config_of(*task, option), CPU)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("sizes", "option", "purpose"),
    [
        ({"width": 50_000, "mlp_width": 10_000}, "data.length=256", "parameters and the state of the optimizer"),
        ({"width": 4000, "mlp_width": 4000}, "data.length=60000", "activations of a batch"),
    ],
)
def test_an_architecture_file_without_room_is_refused_with_its_size(
    sizes: dict[str, int], option: str, purpose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 40 * GIB)
    path = tmp_path / "architecture.json"
    path.write_text(replace(small("softmax", "softmax", "softmax"), **sizes).to_json())
    check_memory(config_of(option), CPU)
    with pytest.raises(
        UserError, match=rf"architecture={path}, with 3 layers, .*width={sizes['width']}, .* GiB for {purpose}"
    ):
        check_memory(config_of(f"architecture={path}", option), CPU)


def test_activation_checkpointing_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 8 * GIB)
    options = ("model.layers=24", "model.mlp_width=4096", "data.length=4096")
    with pytest.raises(UserError, match="activations of a batch"):
        check_memory(config_of(*options), CPU)
    check_memory(config_of(*options, "trainer.activation_checkpointing=true"), CPU)


def test_a_training_of_many_days_is_announced(capsys: pytest.CaptureFixture[str]) -> None:
    check_memory(config_of("trainer.steps=1000000000"), CPU)
    told = capsys.readouterr().err
    assert told.startswith("warning: trainer.steps=1000000000 with data.batch_size=16 and data.length=256 takes more ")
    assert told.count("\n") == 1
