"""Whether data has the tokens of a pretrained model: by its tokenizer.json, where it lies beside the weights."""

import json
from pathlib import Path

from nas.data import Task
from nas.data.batch import BYTE, token_of
from nas.data.shards.folder import TOKENIZER, fingerprint_of
from nas.data.shards.vocabulary import byte_alphabet
from nas.errors import UserError
from nas.search_spaces.config import ModelConfig


def check_tokenizer(task: Task, model: ModelConfig) -> None:
    """Raise a UserError if another tokenizer than that of the pretrained model made the tokens of a task."""
    if model.path is None or not (own := Path(model.path) / TOKENIZER).is_file():
        return
    if token_of(task) == BYTE:
        if not _is_of_bytes(own):
            raise UserError(
                f"data={task.name} has bytes as tokens, but model.path={model.path} has a {TOKENIZER} of other tokens; "
                f"give data=tokens with tokens that nas.prepare made with tokenizer.path={own}."
            )
        return
    given: str | None = getattr(task, "tokenizer", None)
    if given is not None and fingerprint_of(own) != given:
        raise UserError(
            f"data={task.name} has tokens of another tokenizer than model.path={model.path}: {TOKENIZER} differs; give "
            f"tokens that nas.prepare made with tokenizer.path={own}."
        )


def _is_of_bytes(tokenizer: Path) -> bool:
    """Return whether the tokens of a tokenizer.json are bytes: ids 0 to 255, without merges."""
    try:
        model = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]
        return not model.get("merges") and byte_alphabet().items() <= model["vocab"].items()
    except (ImportError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
