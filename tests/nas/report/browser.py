"""A page as people open it: in Chromium, from a file, without a network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
"""What axe-core calls the rules of levels A and AA."""
OPTIONS = ["--disable-gpu", "--no-first-run", "--disable-background-networking"]


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; a test that asks for it is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=OPTIONS)
        yield launched
        launched.close()


@contextmanager
def opened(browser: Any, path: Path, width: int = 1200, **context: Any) -> Iterator[Any]:
    """A page; it must say nothing on the console and ask for nothing but itself."""
    made = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **context)
    page = made.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    yield page
    made.close()
    assert [said for said in heard if said != "data:,"] == []


def violations(page: Any) -> list[str]:
    """What axe-core finds against levels A and AA."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    found = axe.run(page, options={"runOnly": {"type": "tag", "values": LEVELS}}).response["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]
