"""What the end of a run prints."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from nas.results.controls import FOUND, HEALED
from nas.results.terminal import print_results, sentences, table
from nas.runs.folder import Run
from nas.runs.metrics import Metrics, RetrievingLayer, Row
from tests.nas.runs.examples import figures, metrics, row


def printed(given: Metrics) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_results(console, Run(Path("folder")), given)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_a_row_for_what_was_learnt_and_each_control() -> None:
    lines = [line.split("│")[1:-1] for line in printed(metrics()).splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["searched routing", "0.125", "0.500", "0.125"],
        ["all linear", "0.000", "0.100", "0.025"],
    ]


def test_beside_the_original_rows_have_cache_sizes() -> None:
    short = Row("original", {1: figures(0.9, share=1.0, kv_bytes=2**20)})
    lines = [line.split("│")[1:-1] for line in printed(metrics(original=short)).splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["searched routing", "0.125", "0.500", "0.125", "-"],
        ["all linear", "0.000", "0.100", "0.025", "-"],
        ["original", "1.000", "0.900", "-", "1.00 MiB"],
    ]


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (metrics(), "The same weights under other routings"),
        (metrics(learnt=row(FOUND)), "The same weights as other architectures"),
        (metrics(learnt=row("trained model"), controls=()), "The trained model"),
        (
            metrics(learnt=row(HEALED), original=row("original")),
            "The healed model and the weights before its healing, beside the original model",
        ),
    ],
)
def test_the_title_says_what_the_rows_have_in_common(given: Metrics, title: str) -> None:
    assert table(given).title == title
    assert table(given).caption == "recall: higher is better; chance: 0.062"


def test_sentences_say_what_the_table_does_not() -> None:
    assert sentences(metrics(flops_share=0.4567)) == [
        "Layer 1 retrieves: it keeps planted chunks with precision 0.750 and recall 0.500.",
        "Found: linear, token_hybrid@8.",
        "1,234 parameters. Cache size at 131,072 tokens: 1.00 MiB of keys, values and states.",
        "Training throughput: 3,000 tokens per second, 45.7 % of the GPU's peak FLOPs.",
    ]


@pytest.mark.parametrize(
    "layer", [None, RetrievingLayer(1, math.nan, 0.0), RetrievingLayer(1, math.nan, math.nan)], ids=str
)
def test_they_leave_out_what_is_not_known(layer: RetrievingLayer | None) -> None:
    (only,) = sentences(metrics(retrieving_layer=layer, choices=None, tokens_per_second=None))
    assert only.startswith("1,234 parameters")


def test_it_says_how_to_look_at_a_run_and_how_to_continue_one_that_was_stopped() -> None:
    watch = "Open folder/report.html, or watch with: tensorboard --logdir folder\n"
    assert printed(metrics()).endswith(watch)
    stopped = printed(metrics(finished=False, notes=("Stopped at step 3.",)))
    assert stopped.endswith(f"Stopped at step 3.\n{watch}Continue with: resume=folder\n")


def test_the_verdict_comes_before_the_table() -> None:
    lines = printed(metrics()).splitlines()
    assert lines[0] == "Recall is 0.500 ± 0.010."
    assert "The same weights" in lines[1]


@pytest.mark.parametrize("ahead", [True, False])
def test_the_learnt_row_is_bold_only_if_it_is_ahead(ahead: bool) -> None:
    made = table(metrics(ahead=ahead))
    assert [str(row.style) for row in made.rows] == ["bold" if ahead else "", ""]
