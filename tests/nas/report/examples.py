"""Reports for tests, and what stands in a page."""

import re
from html.parser import HTMLParser

from nas.evaluation.routing_map import RoutingMap
from nas.report.data import ReportData
from nas.report.page import render

HOSTILE = [
    "<script>alert(1)</script>",
    "</script>",
    "</title><img src=x onerror=alert(1)>",
    "\"'><b onclick=alert(1)>",
    "&amp;",
    "{{ 7 * 7 }}",
    "👩\u200d💻",
    "\x00",
    "\x1b[31m",
    "\n",
    "\u202eright to left",
    "\ud800",
]


class Parsed(HTMLParser):
    """The elements of a page, its scripts, and the text of every token."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.chunks: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " "
        self._open.append(f"{tag}.{dict(attrs).get('class')}")
        if self._open[-1] == "div.text":
            self.chunks.append([])
        if self._open[-2:] == ["div.text", "span.None"]:
            self.chunks[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().split(".")[0] != tag:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script.None"]:
            self.scripts.append(data)
        elif self._open[-1:] != ["style.None"]:
            self.text += data
        if self._open[-2:] == ["div.text", "span.None"]:
            self.chunks[-1][-1] += data


def routing(tokens: list[str] | None = None, chunk_size: int = 4) -> RoutingMap:
    """Two layers with two heads each over four chunks, of which the second is planted."""
    return RoutingMap(
        tokens=[f"t{i}" for i in range(14)] if tokens is None else tokens,
        chunk_size=chunk_size,
        layers={0: [[0.1, 0.9, 0.2, 0.8], [0.1] * 4], 2: [[0.9] * 4, [0.13, 0.6, 0.2, 0.3]]},
        chosen={0: [[0, 1, 0, 1], [0] * 4], 2: [[1] * 4, [0, 1, 0, 0]]},
        planted=[False, True, False, False],
    )


def report(**changed: object) -> ReportData:
    given: dict[str, object] = {
        "title": "token_hybrid on recall",
        "summary": [("recall", "0.991"), ("softmax share", "0.034 (budget 0.035)")],
        "quality": "recall",
        "comparison": [{"model": "searched", "recall": "0.9911"}, {"model": "all linear", "recall": "0.6422"}],
        "history": [{"step": 10, "loss": 3.25, "share": 0.5, "target": 0.4}, {"step": 1200, "loss": 0.4375}],
        "routing": routing(),
        "notes": ["Interrupted at step 300 of 1500."],
        "command": "python -m nas.search +space=token_hybrid seed=3",
    }
    return ReportData(**(given | changed))  # type: ignore[arg-type]


def words(data: ReportData) -> str:
    """The text of the page with every white space as one blank."""
    return " ".join(Parsed(render(data)).text.split())


def without_scripts(text: str) -> str:
    """The page without the code that it carries."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
