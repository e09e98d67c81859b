"""Small corpora, and the command in this process without Hydra."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.data.shards.folder import Folder, Part
from nas.options.preparing import BPEConfig, PrepareConfig, TokenizerConfig
from nas.preparing.run import prepare

BYTES = TokenizerConfig("bytes")
BPE = BPEConfig("bpe", vocab_size=300, sample_bytes=10_000)
TEXTS = {
    f"{folder}/{number}.txt": f"Document {number} of {folder}: Grüße {number * 7919}\n".encode() * (number + 1)
    for folder in ("a", "b")
    for number in range(20)
}


def write(root: Path, texts: dict[str, bytes]) -> Path:
    """A folder of text files."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)
    return root


def rows(path: Path, texts: list[str], column: str = "text") -> Path:
    """A file of JSON Lines."""
    path.write_text("".join(json.dumps({"id": 1, column: text}) + "\n" for text in texts))
    return path


def config(root: Path, output: Path, **changes: Any) -> PrepareConfig:
    """Options that make several units of a little text."""
    made = PrepareConfig(BYTES, str(root), str(output), "text", [], [], 0.2, 2000, 1)
    return replace(made, **changes)


def run(given: PrepareConfig) -> tuple[int, str]:
    """Prepare a folder; return the exit status, and the output."""
    console = Console(file=io.StringIO(), width=1000)
    status = prepare(given, console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return status, file.getvalue()


def prepared(root: Path, output: Path, **changes: Any) -> Folder:
    """Prepare a folder, and read it."""
    status, _ = run(config(root, output, **changes))
    assert status == 0
    return Folder.read(output)


def texts_of(folder: Folder, part: Part | None = None) -> list[bytes]:
    """The documents of a folder, or of one part."""
    vocabulary, found = folder.vocabulary(), []
    for shard in folder.shards if part is None else folder.of(part):
        tokens, starts = folder.tokens(shard), folder.documents(shard)
        for first, last in zip(starts[:-1, 0], starts[1:, 0], strict=True):
            assert tokens[last - 1] == folder.end
            found.append(vocabulary.decode(tokens[first : last - 1].tolist()))
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of tokens, without what depends on its place."""
    return {
        path.name: re.sub(rb'"path": "[^"]*"', b"", path.read_bytes())
        for path in folder.iterdir()
        if path.name != "prepare.json"
    }
