"""Whether data has the tokens of a pretrained model: by its tokenizer.json, where it lies beside the weights."""

from pathlib import Path

from nas.data import Task
from nas.data.shards.folder import TOKENIZER, fingerprint_of
from nas.errors import UserError
from nas.search_spaces.config import ModelConfig


def check_tokenizer(task: Task, model: ModelConfig) -> None:
    """Raise a UserError if another tokenizer than that of the pretrained model made the tokens of a task."""
    given: str | None = getattr(task, "tokenizer", None)
    if model.path is None or given is None:
        return
    own = Path(model.path) / TOKENIZER
    if own.is_file() and fingerprint_of(own) != given:
        raise UserError(
            f"data={task.name} has tokens of another tokenizer than model.path={model.path}: {TOKENIZER} differs; give "
            f"tokens that nas.prepare made with tokenizer.path={own}."
        )
