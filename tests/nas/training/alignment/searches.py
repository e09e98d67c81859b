"""Small searches from a pretrained model, and modules of them."""

from pathlib import Path
from typing import cast

import torch

from nas.config import SearchConfig
from nas.data import Task, build_task
from nas.models.language_model import LanguageModel
from nas.pretrained.stock import build_space
from nas.pretrained.weights import load_pretrained
from tests.nas.commands import BATCHES, DATA, SHORT, TRAINER, composed
from tests.nas.pretrained.written import model_of

SMALL = (*DATA, *BATCHES, *TRAINER, *SHORT, "model.chunk_size=8", "trainer.checkpoint_every=1")
SPACE = ("+space=layer_hybrid", "space.operations=[softmax,window,linear,token_hybrid]")


def config_of(folder: Path, *options: str) -> SearchConfig:
    """The options of a search from the model in a folder."""
    plain = [option for option in SMALL if not option.startswith("model.")]
    config = cast("SearchConfig", composed("search", *SPACE, *plain, *options))
    config.model = model_of(folder, "model.chunk_size=8")
    return config


def model_and_task(config: SearchConfig) -> tuple[LanguageModel, Task]:
    """The supernet of a search with its pretrained weights, and its task."""
    assert config.model.path is not None
    task = build_task(config.data, config.seed)
    space = build_space(config.space, config.model, task.vocab_size)
    torch.manual_seed(0)
    model = LanguageModel(space.sizes, "full", space.options)
    load_pretrained(model, Path(config.model.path))
    return model, task
