"""The code blocks of the documentation, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<head>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Z_]+=")
LAUNCHERS = ("torchrun", "srun", "sbatch")


def documents() -> list[Path]:
    """README and every page that is written by hand."""
    return [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("[!r]*/**/*.md")), ROOT / "docs/index.md"]


class Block(NamedTuple):
    """A fenced block: where it stands, its language, the file that it is to be saved as, and its text."""

    document: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each command of a block of bash."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(document: Path) -> Iterator[Block]:
    """Every fenced block of a document."""
    text = document.read_text()
    for match in FENCE.finditer(text):
        language, _, rest = match["head"].strip().partition(" ")
        title = re.fullmatch(r'title="(.*)"', rest)
        line = text.count("\n", 0, match.start()) + 1
        indent = len(match["indent"])
        dedented = "".join(row[indent:] if row.strip() else row for row in match["text"].splitlines(keepends=True))
        yield Block(document, line, language, title[1] if title else None, dedented)


class Command(NamedTuple):
    """A command of this project. launched: over several processes, or by a script that starts these."""

    name: str
    options: list[str]
    launched: bool = False


def command_of(words: list[str]) -> Command | None:
    """The command of this project in a line; None for another program.

    Understands ``python -m nas.x``, ``nas-x``, both behind a launcher, scripts that get ``nas.x`` as an argument, and
    ``eval "$(nas-x ...)"``.
    """
    while ASSIGNMENT.match(words[0]):
        words = words[1:]
    if words[0] == "eval":
        return command_of(shlex.split(words[1].removeprefix("$(").removesuffix(")")))
    if (program := words[0].rpartition("/")[2]).startswith("nas-"):
        return Command(program.removeprefix("nas-"), words[1:])
    for place, word in enumerate(words):
        if word.startswith("nas.") and place:
            launched = words[0] in LAUNCHERS or words[0].endswith(".sh")
            return Command(word.removeprefix("nas."), words[place + 1 :], launched)
    return None
