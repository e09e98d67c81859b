"""Small texts, and tasks on them."""

from pathlib import Path

import pytest

from nas.data.batch import Batch
from nas.data.text import Text
from nas.errors import UserError

POEM = b"".join(b"line %04d\n" % line for line in range(1000))  # 10,000 bytes, no two lines alike


def sequences(batch: Batch) -> list[bytes]:
    """Return each sequence with its last target: the window of length + 1 bytes."""
    return [bytes(t.tolist() + y[-1:].tolist()) for t, y in zip(batch.tokens, batch.targets, strict=True)]


def text(path: Path | str | None, length: int = 16, batch_size: int = 4, seed: int = 0, **options: int) -> Text:
    options = {"validation_batches": 3} | options
    return Text(None if path is None else str(path), length, batch_size, seed=seed, **options)


def validation_files(task: Text) -> set[int]:
    return {byte for batch in task.validation_batches() for byte in batch.tokens.flatten().tolist()}


def refusal(path: Path | str, **options: int) -> str:
    with pytest.raises(UserError) as caught:
        text(path, **options)
    message = str(caught.value)
    assert message.startswith("data.")
    assert message.endswith(".")
    assert "; give" in message
    return message
