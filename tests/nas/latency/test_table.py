"""The latency table: lines between measurements, and JSON that keeps every bit."""

import json
from dataclasses import replace
from pathlib import Path

from nas.latency.table import LATENCIES, Latencies, LayerLatency, read_latencies
from nas.models.operations.operation import CostLine
from nas.runs.folder import Run
from nas.search_spaces.architecture import Layer
from tests.nas.latency.examples import table

OPTIONS = ((Layer("linear", 4), Layer("token_hybrid", 3, 20)), (Layer("softmax", 4),))


def test_the_line_passes_through_both_measurements() -> None:
    assert LayerLatency(0.5, 2.0, 0.3).line == CostLine(0.5, 1.5)
    assert LayerLatency(0.5, 0.5).line == CostLine(0.5)


def test_kept_chunks_never_save_time() -> None:
    assert LayerLatency(2.0, 1.0).line == CostLine(1.5)


def test_json_keeps_every_bit(tmp_path: Path) -> None:
    given = replace(table(*OPTIONS), rest_ms=0.1 + 0.2)
    assert Latencies.from_json(json.loads(json.dumps(given.as_json()))) == given
    Run(tmp_path).write_json(LATENCIES, given.as_json())
    assert read_latencies(tmp_path) == given


def test_a_folder_without_a_table(tmp_path: Path) -> None:
    assert read_latencies(tmp_path) is None
    (tmp_path / LATENCIES).write_text('{"phase": "decode"}')
    assert read_latencies(tmp_path) is None


def test_the_summary_has_the_range_and_the_deviation() -> None:
    assert table(*OPTIONS).summary == (
        "Latencies of decode at 4,096 tokens on Fake GPU: 0.5 to 3.33 ms a layer, 0.25 ms outside the layers; at a "
        "softmax share of 0.5 at most 0.12 ms off the line between 0 and 1"
    )
