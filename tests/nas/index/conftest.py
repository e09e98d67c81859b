"""The browser in which pages are opened."""

from tests.nas.report.conftest import browser as browser
