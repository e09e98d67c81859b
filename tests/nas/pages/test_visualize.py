"""The page of a finished run: where it goes, and what is refused before anything is written."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from nas.config import VisualizeConfig
from nas.errors import UserError
from nas.pages.visualize import visualize
from nas.report.embed import is_page


def told(**options: object) -> str:
    """What is told of a page."""
    console = Console(file=io.StringIO(), width=80)
    assert visualize(VisualizeConfig(**options), console) == 0  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_report_of_the_run_is_written_again_with_its_figures(finished: Path) -> None:
    (finished / "report.html").unlink()
    said = told(run=str(finished), tokens=64)
    assert said.startswith(f"Open {finished}/report.html, or watch with: tensorboard --logdir {finished}\n")
    assert (finished / "report.html").read_text().startswith("<!doctype html>")
    assert any((finished / "figures").glob("*.png"))


def test_what_is_given_is_written_where_it_is_asked_for(finished: Path, tmp_path: Path) -> None:
    before = (finished / "report.html").read_bytes()
    told(run=str(finished), tokens=64, output=str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert any((tmp_path / "page_figures").glob("*.png"))
    assert (finished / "report.html").read_bytes() == before


def test_only_a_page_is_replaced_unasked(finished: Path, tmp_path: Path) -> None:
    page, figures = tmp_path / "page.html", tmp_path / "page_figures"
    for content in (b"", b"mine", b"<!doctype html>\n<html>", b"\xff\xfe" * 1000):
        page.write_bytes(content)
        with pytest.raises(
            UserError, match=r"page\.html exists and is not a page that nas\.visualize wrote; give another"
        ):
            told(run=str(finished), tokens=64, output=str(page))
        assert page.read_bytes() == content
    page.unlink()
    figures.mkdir()
    (figures / "loss.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="page_figures, which exists and has files; give another name"):
        told(run=str(finished), tokens=64, output=str(page))
    assert (figures / "loss.png").read_bytes() == b"mine"
    shutil.rmtree(figures)
    for _ in range(2):
        told(run=str(finished), tokens=64, output=str(page))
    assert is_page(page)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "a", "prompt": "b"}, "text=a and prompt are both given; give only one of them"),
        ({"output": "."}, r"output=\. is a folder; give a file, such as report\.html"),
        (
            {"output": "no/where.html"},
            r"output=no/where\.html: there is no folder no; give a file in an existing folder",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused(finished: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        told(**({"run": str(finished), "tokens": 64} | options))
