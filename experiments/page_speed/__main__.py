"""Time how fast a large report loads and responds in Chromium, and write the table.

    python -m experiments.page_speed

Each row has the median and the minimum over all tries, and the largest acceptable time.
"""

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from experiments.page_speed.page import large
from nas.report.page import write_report
from nas.report.units import markdown

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPENS, ANSWERS = 2000, 100
"""Largest acceptable milliseconds to load the page, and to respond to an action."""
ACTIONS = {
    "point at a chunk": "document.querySelectorAll('.chunk')[200]"
    ".dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))",
    "choose another layer": "const layer = document.querySelector('select.layer'); layer.value = 7; "
    "layer.dispatchEvent(new Event('change'))",
    "move the slider to another step": "const step = document.querySelector('.step'); step.value = 3; "
    "step.dispatchEvent(new Event('input'))",
}
UNTIL_DRAWN = """async () => {{
  const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await drawn();
  const start = performance.now();
  {{ {action} }}
  await drawn();
  return performance.now() - start;
}}"""


def main() -> None:
    """Run the study: measure, print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.page_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--tries", type=int, default=20, help="tries of each row (default: 20)")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "cpu.md", help="where to write the table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_report(path, large())
        size = path.stat().st_size
        with _opened(path) as (page, version):
            rows = [_row("open, with every chart drawn", OPENS, given.tries, lambda: _open(page))]
            for name, action in ACTIONS.items():
                script = UNTIL_DRAWN.format(action=action)
                rows.append(_row(name, ANSWERS, given.tries, partial(page.evaluate, script)))
    note = f"{given.tries} tries, {size / 1e6:.1f} MB, Chromium {version}, {platform.machine()}.\n"
    given.table.write_text(text := f"{markdown(rows)}\n{note}", encoding="utf-8")
    print(text)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """Open the page in a browser; yields it and the browser's version."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, chromium_sandbox=False, args=["--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(path.as_uri())
        yield page, browser.version
        browser.close()


def _open(page: Any) -> float:
    """Reload the page; returns the milliseconds until the routing can be explored and every chart is drawn."""
    started = time.monotonic()
    page.reload()
    page.wait_for_selector(".status:not(:empty)")
    page.evaluate("window.ready.then(() => null)")
    return 1e3 * (time.monotonic() - started)


def _row(name: str, bound: float, tries: int, measure: Callable[[], float]) -> dict[str, str]:
    taken = [measure() for _ in range(tries)]
    return {
        "action": name,
        "median ms": f"{statistics.median(taken):.0f}",
        "minimum ms": f"{min(taken):.0f}",
        "acceptable ms": f"{bound:.0f}",
    }


if __name__ == "__main__":
    main()
