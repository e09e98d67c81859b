"""Charts inside a page: their specs, and the library that draws them."""

import json
from pathlib import Path

import pytest

from nas.report.charts import (
    bars,
)
from nas.report.embed import Chart, Charts, library


def test_specs_are_by_the_id_of_their_place_and_nothing_is_drawn_of_nothing() -> None:
    charts = Charts([Chart("a", "A", "nan", None), Chart.of("b", "B", "", bars({"x": 1.0}))])
    assert list(charts.specs) == ["chart-b"]
    json.dumps(charts.specs, allow_nan=False)


def test_the_library_is_bundled_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def bundle(snippet: str, vl_version: str) -> str:
        made.append(vl_version)
        return f"draw('ü', {len(made)})"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("vl_convert.javascript_bundle", bundle)
    assert library.__wrapped__() == library.__wrapped__()
    assert library.__wrapped__().endswith("draw('ü', 1)")
    monkeypatch.setattr("nas.report.embed.version", lambda distribution: "another")
    assert library.__wrapped__().endswith("draw('ü', 2)")


def test_the_library_can_stand_inside_a_page_with_its_licences() -> None:
    script = library()
    assert "</script" not in script
    assert "vegaEmbed" in script
    for words in ("University of Washington Interactive Data Lab", "Mike Bostock", "OpenJS Foundation"):
        assert words in script[: script.index("*/")]
    assert len(script) < 1_000_000
