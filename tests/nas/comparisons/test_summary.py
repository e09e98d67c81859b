"""The summary of a comparison: rows, caption and notes."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from nas.comparisons.page import page
from nas.comparisons.results import Comparison
from nas.comparisons.statistics import interval
from nas.comparisons.summary import Summary
from nas.comparisons.table import to_markdown
from tests.nas.comparisons.examples import recall, text
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


def test_the_loss_per_token_has_a_column_where_bytes_differ(tmp_path: Path) -> None:
    plain, tokens = (Summary.of(replace(text(), token_loss=own)) for own in (False, True))
    assert "loss_1x" not in plain.rows[0]
    assert "loss per token" not in to_markdown(plain)
    assert tokens.rows[0]["loss_1x"] == pytest.approx(1 - 1.96 / 10)
    assert "loss per token at 1x" in to_markdown(tokens)
    assert Comparison.from_dict(tokens.comparison.to_dict()).token_loss
    assert "loss per token at 1x" in page(tokens, tmp_path, tmp_path)


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
