"""The number of steps of a healing, and options that cannot be combined with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from nas.data import build_task
from nas.data.text import Text
from nas.errors import UserError
from nas.training.healing.options import check_healing, check_healing_batches, healing_steps
from tests.nas.commands import SEARCH, SMALL, composed, refusal
from tests.nas.pretrained.written import write_model
from tests.nas.training.alignment.searches import config_of


def test_a_quarter_of_the_training_is_the_default_with_a_pretrained_model(tmp_path: Path) -> None:
    config = config_of(write_model(tmp_path), "trainer.steps=50")
    assert healing_steps(config) == 12
    assert healing_steps(replace(config, heal=replace(config.heal, steps=7))) == 7
    assert healing_steps(replace(config, heal=replace(config.heal, steps=0))) == 0
    assert healing_steps(composed("search", *SEARCH)) == 0
    assert healing_steps(composed("train", *SMALL, "architecture=softmax")) == 0


def test_there_must_be_a_pretrained_model() -> None:
    message = refusal("search", *SEARCH, "heal.steps=5")
    assert "heal.steps=5 needs a pretrained model to learn from, but model=tiny starts from random weights" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("trainer.strategy=fsdp", "trainer.steps=50"), r"heal\.steps=null \(12\) computes whole .*=fsdp splits"),
        (("trainer.context_parallel=2", "heal.steps=3"), r"heal\.steps=3 .*parallel=1 or heal\.steps=0"),
        (
            ("heal.steps=3", "heal.length_factor=2"),
            r"heal\.length_factor=2 makes sequences of 128 tokens, but .* for 64 tokens; give heal.length_factor=1",
        ),
    ],
)
def test_layers_are_whole_and_positions_are_those_of_the_original(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        check_healing(config_of(write_model(tmp_path), *options))


def test_without_a_healing_nothing_is_checked(tmp_path: Path) -> None:
    config = config_of(write_model(tmp_path), "trainer.strategy=fsdp", "heal.steps=0", "heal.length_factor=4")
    check_healing(config)
    check_healing_batches(config, build_task(config.data, config.seed))


@pytest.mark.parametrize(
    ("options", "tokens", "message"),
    [
        (("data.batch_size=3",), 4000, r"batches as many times smaller, but data\.batch_size=3 is no multiple of 2"),
        (
            ("data.batch_size=2", "trainer.accumulate=2"),
            4000,
            r"into 2 parts .* data\.batch_size=2 is no multiple of 4",
        ),
        (("data.batch_size=16", "heal.length_factor=16"), 140, r"text\.txt is too short: a training sequence needs"),
    ],
)
def test_there_must_be_enough_of_them(options: tuple[str, ...], tokens: int, message: str, tmp_path: Path) -> None:
    config = config_of(write_model(tmp_path), "heal.steps=2", "heal.length_factor=2", *options)
    (tmp_path / "text.txt").write_text("x" * tokens)
    task = Text(str(tmp_path / "text.txt"), 12, 2, 1, seed=0)
    with pytest.raises(UserError, match=message):
        check_healing_batches(config, task)


def test_only_running_text_has_longer_sequences(tmp_path: Path) -> None:
    config = config_of(write_model(tmp_path), "heal.steps=2", "heal.length_factor=2")
    with pytest.raises(UserError, match=r"heal\.length_factor=2 makes sequences longer, which data=recall cannot do"):
        check_healing_batches(config, build_task(config.data, config.seed))
