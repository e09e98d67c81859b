"""The browser in which pages are opened: started once a module."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.nas.report.browser import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched
