"""The start of a training from a pretrained model."""

from pathlib import Path

from rich.console import Console

from nas.console import say
from nas.models.language_model import LanguageModel
from nas.pretrained.weights import load_pretrained
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.search_spaces.config import ModelConfig


def start_from_pretrained(model: LanguageModel, config: ModelConfig, run: Run, console: Console) -> None:
    """Load the weights of ``model.path``, if it is given and the run has no checkpoint that replaces them.

    Raises:
        UserError: the weights do not fit; see `nas.pretrained.weights.load_pretrained`.
    """
    if config.path is None or checkpoints.newest(run.path) is not None:
        return
    loaded = load_pretrained(model, Path(config.path))
    share = loaded.added / (loaded.loaded + loaded.added)
    added = (
        f"{loaded.added:,} new ones ({share:.2%}) for the operations beside its own" if loaded.added else "no new ones"
    )
    say(console, f"Starting from {config.path}: {loaded.loaded:,} pretrained parameters, {added}")
