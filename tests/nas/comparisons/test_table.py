"""The table of a comparison in four formats, and its sentences."""

import csv
import io
import json
import re

import pytest
from rich.console import Console

from nas.comparisons.summary import Summary
from nas.comparisons.table import sentences, terminal, to_csv, to_json, to_markdown
from tests.nas.comparisons.examples import by_seed, comparison, recall, text
from tests.nas.comparisons.tables import small as small_answer


@pytest.fixture(scope="module")
def summary() -> Summary:
    return Summary.of(recall())


def shown(summary: Summary, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(terminal(summary))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_whole_names_and_numbers(summary: Summary, width: int) -> None:
    told = shown(summary, width)
    for row in summary.rows:
        assert str(row["model"]) in told
    assert "25.0 T" in told
    row = summary.rows[1]
    assert width == 80 or {f"[{row['low_1x']:.3f}, {row['high_1x']:.3f}]", "556 KiB"} <= set(
        re.findall(r"\[[\d., ]+\]|\d+ KiB", told)
    )
    assert "token_hybrid retrieves better than nats_l at 8x the training length" in told.replace("\n", " ")


def test_markdown_has_every_contender_and_every_test(summary: Summary) -> None:
    page = to_markdown(summary)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Quality",
        "## Cost of training",
        "## Cost of inference",
        "## Pairwise tests",
        "## In words",
    ]
    row = summary.rows[0]
    own = f"1.000 [{row['low_1x']:.3f}, {row['high_1x']:.3f}], within the noise"
    assert f"| token_hybrid    | 0.030         | {own} |" in page
    assert "| softmax         | 1.23 M     | 0.002         | 25.0 T         |" in page
    assert sum(line.startswith("- ") for line in page.splitlines()) == len(summary.pairs) == 48
    assert sum(line.count("|") == 10 for line in page.splitlines()) == len(summary.pairs) + 2


def test_csv_has_raw_numbers() -> None:
    small = small_answer()
    rows = list(csv.DictReader(io.StringIO(to_csv(small))))
    assert [row["model"] for row in rows] == ["token_hybrid", "softmax", "interleaved_3_1"]
    assert float(rows[0]["quality_1x"]) == small.rows[0]["quality_1x"]
    assert rows[0]["training_flops"] == "25000000000000.0"
    assert rows[0]["decode_seconds"] == rows[1]["verdict_1x"] == ""


def test_json_has_rows_and_tests() -> None:
    small = small_answer()
    given = json.loads(to_json(small))
    assert given["task"] == "associative recall"
    assert given["rows"][0]["quality_1x"] == small.rows[0]["quality_1x"]
    assert given["rows"][0]["decode_seconds"] is None
    assert [(test["entrant"], test["baseline"]) for test in given["tests"]] == [
        ("token_hybrid", "softmax"),
        ("token_hybrid", "interleaved_3_1"),
    ]
    assert given["tests"][0]["p_holm"] == small.pairs[0].p_holm
    assert given["tests"][0]["interval"] == list(small.pairs[0].interval)


def test_claims_are_plain_sentences() -> None:
    small = small_answer()
    assert sentences(small, small.pairs) == [
        "token_hybrid retrieves better than softmax at the training length: 0.910 against 0.010 recall, p < 0.001.",
        "The difference between token_hybrid and interleaved_3_1 at the training length is within the noise: "
        "0.910 against 0.907 recall, p = 0.808.",
    ]
    assert sentences(small, small.against_best) == sentences(small, small.pairs)[1:]


def test_claims_of_other_measures_and_of_one_seed() -> None:
    bits = Summary.of(text())
    assert sentences(bits, bits.pairs[:1]) == [
        "token_hybrid is better than softmax at the training length: 1.960 against 2.110 bits per byte, p < 0.001."
    ]
    assert "bits per byte: lower is better" in bits.caption
    single = Summary.of(comparison(by_seed("token_hybrid", 1.0, searched=True), by_seed("linear", 0.02)))
    assert sentences(single, single.pairs) == [
        "token_hybrid against linear at the training length: 1.000 against 0.020 recall, from one seed, not tested."
    ]
    assert "one seed" in single.caption
    assert "| token_hybrid | 0.500         | 1.000, one seed: not tested |" in to_markdown(single)


def test_a_single_contender_has_no_tests() -> None:
    alone = Summary.of(comparison(by_seed("softmax [red]", 0.5, 0.6)))
    assert "Pairwise" not in to_markdown(alone)
    assert "softmax [red]" in shown(alone, 100)
