"""Routing in numbers and as an image, and what a routing map refuses."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from torch.utils.tensorboard import SummaryWriter

from nas.evaluation.routing_map import RoutingMap
from nas.report.image import routing_figure
from nas.report.routing import findings, mean_share, rows

Weights = dict[int, list[list[float]]]


def given(weights: Weights, planted: list[bool] | None = None, tokens: int = 40, chunk_size: int = 16) -> RoutingMap:
    return RoutingMap(["t"] * tokens, chunk_size, weights, weights, planted)


def test_share_precision_and_recall_of_hard_and_soft_weights() -> None:
    hard, soft, none = rows(given({3: [[1, 1, 0], [0.5, 0.25, 0.25], [0, 0, 0]]}, [True, False, False]))
    assert (hard.share, hard.precision, hard.recall) == (2 / 3, 0.5, 1.0)
    assert (soft.share, soft.precision, soft.recall) == (1 / 3, 0.5, 0.5)
    assert (none.share, none.precision, none.recall) == (0.0, None, 0.0)
    assert mean_share([hard, soft, none]) == pytest.approx(1 / 3)


def test_precision_and_recall_are_unknown_without_planted_content() -> None:
    (unknown,) = rows(given({0: [[1, 0, 0]]}))
    (empty,) = rows(given({0: [[1, 0, 0]]}, [False] * 3))
    assert (unknown.precision, unknown.recall) == (None, None)
    assert (empty.precision, empty.recall) == (0.0, None)


def test_rounding_past_the_ends_is_cut() -> None:
    (row,) = rows(given({0: [[1 + 1e-7, -1e-7, 1]]}))
    assert row.weight == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("tokens", "layers", "chosen", "planted", "said"),
    [
        (0, {0: [[]]}, {0: [[]]}, None, "tokens or layers is empty"),
        (40, {}, {}, None, "tokens or layers is empty"),
        (40, {0: [[0, 1]]}, {0: [[0, 1, 0]]}, None, r"layers\[0\]\[0\] has 2 chunks; 40 tokens in chunks of 16 make 3"),
        (40, {0: [[0, 1, 0]]}, {0: [[0, 1]]}, None, r"chosen\[0\]\[0\] has 2 chunks"),
        (40, {0: [[0, 1, 0]]}, {1: [[0, 1, 0]]}, None, "layers has heads"),
        (40, {0: [[0, 1.2, 0]]}, {0: [[0, 1, 0]]}, None, r"layers\[0\]\[0\] has 1.2; it must be between 0 and 1"),
        (40, {0: [[0, 1, 0]]}, {0: [[0, float("nan"), 0]]}, None, r"chosen\[0\]\[0\] has nan"),
        (40, {0: [[0, 1, 0]]}, {0: [[0, 1, 0]]}, [True], "planted has 1 chunks"),
    ],
    ids=["no-tokens", "no-layers", "short-layers", "short-chosen", "other-layers", "above-one", "nan", "short-planted"],
)
def test_what_does_not_fit_is_refused(
    tokens: int, layers: Weights, chosen: Weights, planted: list[bool] | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        RoutingMap(["t"] * tokens, 16, layers, chosen, planted)


def test_the_image_has_a_labelled_row_for_every_head_and_a_bar_for_every_chunk() -> None:
    figure = routing_figure(given({0: [[1, 0, 0], [0, 0, 0]], 4: [[1, 1, 0.25], [0, 1, 0]]}, [False, True, False]))
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["layer 0 head 0", "layer 0 head 1", "layer 4 head 0", "layer 4 head 1"]
    assert {"0.33", "0.00", "0.75"} <= {text.get_text() for text in axes.texts}
    bars = [drawn for drawn in axes.collections if isinstance(drawn, PolyCollection)]
    counts = {to_hex(tuple(np.asarray(drawn.get_facecolor())[0])): len(drawn.get_paths()) for drawn in bars}
    assert counts == {"#e69f00": 4, "#0072b2": 8}
    heights = sorted(
        {round(float(np.ptp(np.asarray(path.vertices)[:, 1])), 3) for drawn in bars for path in drawn.get_paths()}
    )
    assert heights == [0.252, 0.399, 0.84]  # linear, a quarter of the way to softmax, softmax


def test_the_image_marks_planted_chunks() -> None:
    weights: Weights = {0: [[0, 0, 0]]}
    marks = [
        line for line in routing_figure(given(weights, [False, True, True])).axes[0].lines if line.get_marker() == "v"
    ]
    assert [np.asarray(line.get_xdata())[0] for line in marks] == [1, 2]
    legend = routing_figure(given(weights)).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["softmax (tall)", "linear (low)"]


def test_a_large_model_is_drawn_within_the_size_of_an_image() -> None:
    figure = routing_figure(given({layer: [[0.0, 1.0, 0.0]] * 12 for layer in range(12)}))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    height, width, _ = np.asarray(canvas.buffer_rgba()).shape
    assert (width, height) == (1000, 1600)
    assert len(figure.axes[0].get_yticklabels()) == 144


def test_tensorboard_takes_the_image(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_figure("routing", routing_figure(given({0: [[1, 0, 0]]}, [True, False, False])), 3)
    (events,) = tmp_path.iterdir()
    assert b"\x89PNG" in events.read_bytes()


def test_entropy_is_that_of_the_probabilities_in_bits() -> None:
    sure, coin, between = rows(RoutingMap(["t"] * 8, 4, {0: [[0, 1], [0.5, 0.5], [0.25, 1]]}, {0: [[0, 1]] * 3}, None))
    assert (sure.entropy, coin.entropy) == (0, 1)
    assert between.entropy == pytest.approx(0.811278 / 2, abs=1e-6)


def test_heads_that_choose_nothing_are_called_out() -> None:
    weights: Weights = {0: [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]], 1: [[0, 0, 0], [1, 1, 1]]}
    assert findings(rows(given(weights))) == [
        "Collapsed: layer 0 heads 0, 1 and 3 send the same chunks to softmax.",
        "Dead: layer 1 head 0 sends every chunk to linear.",
        "Collapsed: layer 1 head 1 sends every chunk to softmax.",
    ]
    unsure = RoutingMap(["t"] * 40, 16, {2: [[0.5, 0.45, 0.55], [0.9] * 3]}, {2: [[1, 0, 1], [1, 0, 0]]}, None)
    assert findings(rows(unsure)) == ["Undecided: layer 2 head 0 has an entropy of 0.95 bits or more, of at most 1."]


def test_of_a_single_chunk_nothing_is_called_out() -> None:
    assert findings(rows(given({0: [[1], [0]]}, tokens=7))) == []
