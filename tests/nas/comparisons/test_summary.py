"""The summary of a comparison: rows, caption and notes."""

import math

import pytest

from nas.comparisons.statistics import interval
from nas.comparisons.summary import Summary
from nas.comparisons.table import to_markdown
from tests.nas.comparisons.examples import recall
from tests.nas.comparisons.tables import small as small_answer


def test_rows_have_raw_numbers() -> None:
    small = small_answer()
    row = small.rows[0]
    assert row["model"] == "token_hybrid"
    assert row["quality_1x"] == pytest.approx(0.91)
    assert (row["low_1x"], row["high_1x"]) == interval([0.90, 0.91, 0.92])
    assert row["share_1x"] == pytest.approx(0.03)
    assert row["verdict_1x"] == "within the noise"
    assert row["kv_bytes_32768"] == 60_000 + 512 * 0.03 * 32768
    assert row["prefill_seconds"] == pytest.approx(1.25e-5)
    assert math.isnan(row["decode_seconds"])  # type: ignore[arg-type]
    assert [row["verdict_1x"] for row in small.rows[1:]] == [None, "best baseline"]


def test_a_diverged_training_counts_and_is_told() -> None:
    small = small_answer()
    assert small.rows[1]["quality_1x"] == pytest.approx(0.01)
    assert small.rows[1]["diverged_1x"] == 1
    assert "1 of 3 diverged" in to_markdown(small)
    assert "trainings that diverged count with the worst quality" in small.caption


def test_the_caption_names_the_best_baseline_of_each_length() -> None:
    summary = Summary.of(recall())
    assert summary.caption == (
        "recall: higher is better; 3 seeds: mean [95 % t interval]; best baseline at 1x: softmax; "
        "best baseline at 2x, 4x, 8x: nats_l."
    )
