"""The layers that searches found."""

from dataclasses import replace

from nas.comparisons.layers import found_layers
from nas.comparisons.results import Trained
from nas.comparisons.summary import Summary
from nas.comparisons.table import to_csv, to_markdown
from nas.search_spaces.architecture import Layer
from tests.nas.comparisons.examples import comparison, contender, trained

LAYERS = {"ls": ("linear", "softmax"), "lt@16": ("linear", "token_hybrid")}


def with_layers(seed: int, pattern: str, quality: float) -> Trained:
    layers = [Layer(mixer, 16) for mixer in LAYERS[pattern]]
    named = tuple({"mixer": layer.mixer, "chunk_size": layer.chunk_size} for layer in layers)
    return replace(trained(seed, {1: quality, 4: quality / 2}), layers=named)


def test_each_pattern_has_a_row_with_its_seeds_cost_and_quality() -> None:
    runs = [with_layers(0, "lt@16", 0.2), with_layers(1, "ls", 0.8), with_layers(2, "ls", 0.6)]
    by_hand = [with_layers(seed, "ls", 0.5) for seed in range(3)]
    made = comparison(contender("joint", *runs, searched=True), contender("hand", *by_hand), factors=(1, 4))
    rows = found_layers(made)
    assert [(row["layers"], row["seeds"], row["recall at 1x"], row["recall at 4x"]) for row in rows] == [
        ("ls", "1, 2", "0.700", "0.350"),
        ("lt@16", "0", "0.200", "0.100"),
    ]
    assert rows[0]["cache size at 32k"] == "8.06 MiB"
    summary = Summary.of(type(made).from_dict(made.to_dict()))
    assert [row["layers"] for row in summary.rows] == ["ls:2 lt@16:1", "ls"]
    assert "| joint | ls     | 1, 2  |" in to_markdown(summary)
    assert "joint,True,ls:2 lt@16:1," in to_csv(summary)


def test_results_of_earlier_versions_have_no_layers() -> None:
    made = comparison(contender("joint", trained(0, {1: 0.5}), searched=True), contender("hand", trained(0, {1: 0.5})))
    assert found_layers(made) == []
    assert "## Layers" not in to_markdown(Summary.of(made))
