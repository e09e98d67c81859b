from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nas.errors import UserError
from nas.pretrained.options import fill
from nas.search_spaces.config import ModelConfig
from tests.nas.pretrained.written import GEMMA, options_of, write_config


def test_options_follow_from_the_folder(tmp_path: Path) -> None:
    model = options_of(f"model.path={write_config(tmp_path)}")
    fill(model)
    filled = OmegaConf.to_object(model)
    assert isinstance(filled, ModelConfig)
    assert (filled.layers, filled.width, filled.vocab_size, filled.routing_heads, filled.window) == (2, 16, 256, 2, 512)
    assert filled.structure is not None
    assert filled.structure.family == "llama"
    fill(model)  # as in a comparison, whose searches have the options of the command
    assert OmegaConf.to_object(model) == filled


def test_options_that_weights_do_not_fix_may_be_given(tmp_path: Path) -> None:
    model = options_of(f"model.path={write_config(tmp_path)}", "model.window=32", "model.routing_heads=1")
    fill(model)
    assert (model.window, model.routing_heads) == (32, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "model=pretrained needs model.path=DIR"),
        (("model.path={}", "model.width=8"), "model.width=8, but model.path=.* has 16; omit model.width"),
        (("model.path={}", "model.window=8"), "model.window=8, but model.path=.* has 9; omit model.window"),
        (("model=tiny", "model.path={}"), "but model=tiny has sizes of its own; give model=pretrained"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    folder = write_config(tmp_path, **GEMMA)
    with pytest.raises(UserError, match=message):
        fill(options_of(*(option.format(folder) for option in options)))
