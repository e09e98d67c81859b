"""The number of steps of an alignment, and options that cannot be combined with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.training.alignment.options import alignment_steps, check_alignment
from tests.nas.commands import SEARCH, SMALL, composed, refusal
from tests.nas.pretrained.written import write_model
from tests.nas.training.alignment.searches import config_of


def test_a_tenth_of_the_training_is_the_default_with_a_pretrained_model(tmp_path: Path) -> None:
    config = config_of(write_model(tmp_path), "trainer.steps=50")
    assert alignment_steps(config) == 5
    assert alignment_steps(replace(config, align=replace(config.align, steps=7))) == 7
    assert alignment_steps(replace(config, align=replace(config.align, steps=0))) == 0
    assert alignment_steps(composed("search", *SEARCH)) == 0
    assert alignment_steps(composed("train", *SMALL, "architecture=softmax")) == 0


@pytest.mark.parametrize("given", ["align.steps=5", "align.distillation=0.5"])
def test_there_must_be_a_pretrained_model(given: str) -> None:
    message = refusal("search", *SEARCH, given)
    assert f"{given} needs a pretrained model to learn from, but model=tiny starts from random weights" in message
    assert f"give model=pretrained model.path=DIR, or omit {given.partition('=')[0]}." in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("trainer.strategy=fsdp", "trainer.steps=50"),
            r"align\.steps=null \(5\) computes whole .*strategy=fsdp splits",
        ),
        (
            ("trainer.context_parallel=2", "align.steps=3"),
            r"align\.steps=3 .*; give trainer\.context_parallel=1 or ali",
        ),
        (("trainer.strategy=fsdp", "align.distillation=2"), r"align\.distillation=2 .* or align\.distillation=0"),
    ],
)
def test_layers_and_sequences_must_be_whole(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        check_alignment(config_of(write_model(tmp_path), *options))


def test_without_an_alignment_layers_may_be_split(tmp_path: Path) -> None:
    check_alignment(config_of(write_model(tmp_path), "trainer.strategy=fsdp", "align.steps=0"))
