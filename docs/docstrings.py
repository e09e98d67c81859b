"""Turn docstrings into Markdown: doctests become code blocks, and "is::" before a literal block becomes "is:"."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"(?:^|(?<=\n))(?P<indent> *)>>> .*\n?(?:(?P=indent)\S.*(?:\n|$))*")
LITERAL = re.compile(r"::(?=\n)")


class Markdown(griffe.Extension):
    """Rewrites each docstring as it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """Rewrite one docstring."""
    fenced = DOCTEST.sub(_fence, docstring)
    return LITERAL.sub(":", fenced)


def _fence(doctest: re.Match[str]) -> str:
    indent = doctest["indent"]
    return f"{indent}```pycon\n{doctest[0].rstrip()}\n{indent}```\n"
