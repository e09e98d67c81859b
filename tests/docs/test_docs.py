"""The documentation builds strictly, offline, and every internal link of it and of README leads somewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.docs.snippets import ROOT, documents

MARKDOWN_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
FETCHING = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src")}
"""Attributes for which a browser fetches something to show a page."""


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)
            if (tag, name) in FETCHING and value:
                self.loads.append(value)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` does; a warning of any kind is an error."""
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason="needs the docs extra")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    place = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config: Any = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(place))
        config.plugins.on_startup(command="build", dirty=False)
        try:
            build(config)
        finally:
            config.plugins.on_shutdown()
    return place


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links start at the address of a server
        for link in page.links:
            address, anchor = urldefrag(link)
            if urlsplit(address).scheme:
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            if not target.is_file() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_reading_the_site_fetches_nothing(site: Path, pages: dict[Path, Page]) -> None:
    fetched = [link for page in pages.values() for link in page.loads if urlsplit(link).scheme not in ("", "data")]
    styles = [sheet.read_text() for sheet in site.rglob("*.css")]
    fetched += [
        address for sheet in styles for address in re.findall(r"(?:url\(|@import)\s*[\"']?(https?:[^)\"']+)", sheet)
    ]
    assert not fetched


def test_pages_hold_what_they_are_made_of(pages: dict[Path, Page], site: Path) -> None:
    assert "nas.kernels.gated_delta_rule.gated_delta_rule" in pages[site / "reference/kernels.html"].anchors
    assert "nas.relaxations.gumbel" in pages[site / "reference/searchers.html"].anchors
    options = (site / "reference/options.html").read_text()
    missing = [file for file in ROOT.glob("conf/**/*.yaml") if str(file.relative_to(ROOT)) not in options]
    assert not missing


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.stem)
def test_links_of_the_sources_lead_somewhere(document: Path) -> None:
    for link in MARKDOWN_LINK.findall(CODE.sub("", document.read_text())):
        address, anchor = urldefrag(link)
        if urlsplit(address).scheme:
            continue
        target = document.parent / address if address else document
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def _anchors(document: Path) -> set[str]:
    """What GitHub and mkdocs make of headings."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_readme_is_short_and_names_every_guide() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n") < 250
    for guide in (ROOT / "docs/guides").glob("*.md"):
        assert f"(docs/guides/{guide.name})" in readme


def test_every_folder_is_in_the_file_tree() -> None:
    tree = (ROOT / "README.md").read_text().partition("## File tree")[2]
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name in TOP}
    rooms = {path.parent.name for path in ROOT.glob("nas/*/__init__.py") if not path.parent.is_symlink()}
    for folder in top | rooms:
        assert re.search(rf"^ +{folder}/ +\S", tree, re.MULTILINE), folder


TOP = ("nas", "search_spaces", "kernels", "conf", "experiments", "docs", "tests")
