"""The figures of a run as files."""

from pathlib import Path

from nas.report.curves import probabilities
from nas.report.diagram import by_hand
from nas.report.paper_figures import layer_figure, probability_figure, write_figures
from tests.nas.report.examples import report

HISTORY = [
    {
        "step": step,
        "loss": 3.0 - step / 10,
        "recall": step / 20,
        "probability/layer_0/softmax": 0.5,
        "probability/layer_0/linear": 0.5,
        "probability/layer_10/linear": 0.25,
        "probability/layer_10/token_hybrid@16": 0.75,
    }
    for step in (5, 10)
]


def test_a_run_has_png_and_svg_of_everything_it_logged_the_same_each_time(tmp_path: Path) -> None:
    given = report(history=HISTORY, stacks=by_hand(4))
    paths = write_figures(tmp_path, given)
    assert {path.stem for path in paths} == {"loss", "quality", "probabilities", "layers", "routing"}
    assert sorted(paths) == sorted(tmp_path.iterdir())
    first = {path: path.read_bytes() for path in paths}
    assert all(first[path].startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml") for path in paths)
    assert {path: path.read_bytes() for path in write_figures(tmp_path, given)} == first
    assert write_figures(tmp_path, report(history=[], routing=None)) == []


def test_probabilities_are_a_row_for_each_layer_in_order() -> None:
    layers = probabilities(HISTORY)
    assert list(layers) == ["layer 0", "layer 10"]
    assert layers["layer 10"]["token_hybrid@16"] == [(5, 0.75), (10, 0.75)]
    figure = probability_figure(layers)
    assert [axes.get_ylabel() for axes in figure.axes] == ["layer 0", "layer 10"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["softmax", "token_hybrid@16", "linear"]


def test_layers_are_drawn_for_each_model() -> None:
    (axes,) = layer_figure(by_hand(4)).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [stack.name for stack in by_hand(4)]
    assert [text.get_text() for text in axes.texts][:4] == ["linear", "softmax", "linear", "softmax"]
    assert [text.get_text() for text in axes.texts][4:8] == ["linear", "linear", "linear", "softmax"]
