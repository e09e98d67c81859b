"""Quality against cost: markers, labels that do not overlap, and the Pareto front."""

import pytest

from nas.comparisons.figures.quality_against_cost import quality_against_cost
from nas.comparisons.results import Comparison
from nas.comparisons.summary import Summary
from tests.nas.comparisons.examples import by_seed, comparison, recall, text
from tests.nas.comparisons.figures.drawn import assert_apart


@pytest.mark.parametrize("cost", ["share", "kv_bytes"])
@pytest.mark.parametrize("given", [recall(), text()], ids=["recall", "text"])
def test_quality_against_cost(given: Comparison, cost: str) -> None:
    summary = Summary.of(given)
    figure = quality_against_cost(summary, cost)
    assert figure is not None
    assert_apart(figure, summary)
    assert [axes.get_title() for axes in figure.axes] == [
        "at the training length, 512 tokens",
        f"at {given.factors[-1]}x the training length, {512 * given.factors[-1]:,} tokens",
    ]
    assert "is better" in figure.axes[0].get_ylabel()


def test_the_front_goes_through_those_that_none_dominates() -> None:
    summary = Summary.of(
        comparison(
            by_seed("softmax", 0.9, 0.9, share=1.0),
            by_seed("linear", 0.1, 0.1, share=0.0),
            by_seed("found", 0.8, 0.8, share=0.25, searched=True),
            by_seed("worse", 0.7, 0.7, share=0.5),
        )
    )
    figure = quality_against_cost(summary, "share")
    assert figure is not None
    (axes,) = figure.axes
    line = axes.lines[0].get_xydata().tolist()  # type: ignore[union-attr]
    assert [tuple(round(value, 6) for value in corner) for corner in line] == [
        (0.0, 0.1),
        (0.25, 0.1),
        (0.25, 0.8),
        (1.0, 0.8),
        (1.0, 0.9),
        (1.06, 0.9),
    ]
