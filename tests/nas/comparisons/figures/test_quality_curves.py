"""Quality by length and by position: curves, bands and labels."""

import math
from dataclasses import replace

import pytest

from nas.comparisons.figures.quality_curves import bits_by_position, quality_against_length
from nas.comparisons.results import TrainedContender
from nas.comparisons.summary import Summary
from tests.nas.comparisons.examples import comparison, contender, recall, text, trained
from tests.nas.comparisons.figures.drawn import assert_apart, names


def test_quality_against_length_has_a_curve_and_a_band_for_each() -> None:
    summary = Summary.of(recall())
    figure = quality_against_length(summary)
    assert figure is not None
    assert_apart(figure, summary)
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [512, 1024, 2048, 4096]  # type: ignore[union-attr]
    assert axes.lines[0].get_ydata()[-1] == summary.rows[0]["quality_8x"]  # type: ignore[index]
    assert len(axes.collections) == len(summary.rows)
    assert "training length" in [one.get_text() for one in axes.texts]


def test_bits_by_position_are_of_the_longest_sequences() -> None:
    summary = Summary.of(text())
    figure = bits_by_position(summary)
    assert figure is not None
    assert_apart(figure, summary)
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == list(range(64, 1025, 64))  # type: ignore[union-attr]
    assert axes.lines[0].get_ydata()[0] == pytest.approx(1.96 + 20 / 84)  # type: ignore[index]


@pytest.mark.parametrize("unit", ["byte", "token"])
def test_the_axis_names_the_unit(unit: str) -> None:
    figure = bits_by_position(Summary.of(replace(text(), quality=f"bits_per_{unit}")))
    assert figure is not None
    assert figure.axes[0].get_ylabel() == f"bits per {unit} (lower is better)"


def test_segments_that_diverged_are_left_out() -> None:
    runs = [trained(seed, {1: 2.0}, segments={1: [(64, bits)]}) for seed, bits in enumerate((2.0, math.nan, 3.0))]
    gone = [trained(seed, {1: 2.0}, segments={1: [(64, math.nan)]}) for seed in range(3)]
    summary = Summary.of(comparison(contender("softmax", *runs), contender("linear", *gone), quality="bits_per_byte"))
    figure = bits_by_position(summary)
    assert figure is not None
    assert list(names(figure.axes[0], summary)) == ["softmax"]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [2.5]  # type: ignore[union-attr]


def test_a_curve_that_rises_far_beyond_all_others_is_cut_off_and_keeps_its_value() -> None:
    def of(name: str, *bits: float) -> TrainedContender:
        runs = [trained(seed, {1: bits[0] + seed / 1e3, 4: bits[1] + seed / 1e3}) for seed in range(2)]
        return contender(name, *runs)

    every = of("softmax", 1.2, 1.3), of("linear", 1.3, 1.4), of("lsll", 1.1, 1.1), of("softmax_rope", 1.2, 3.1)
    summary = Summary.of(comparison(*every, factors=(1, 4), quality="bits_per_byte"))
    figure = quality_against_length(summary)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 1.5
    assert {"softmax", "linear", "lsll", "softmax_rope (3.10)"} <= {one.get_text() for one in axes.texts}
    whole = quality_against_length(Summary.of(comparison(*every[:3], factors=(1, 4), quality="bits_per_byte")))
    assert whole is not None
    assert set(names(whole.axes[0], summary)) == {"softmax", "linear", "lsll"}


def test_one_seed_without_intervals_and_bits_that_are_not_finite_are_drawn() -> None:
    def of(*bits: float) -> Summary:
        runs = [contender(f"{place}", trained(0, {1: each, 4: each})) for place, each in enumerate(bits)]
        return Summary.of(comparison(*runs, factors=(1, 4), quality="bits_per_byte"))

    for bits in ((1.0, 2.0), (1.0, math.nan), (1.0, 1.0), (math.nan, math.nan)):
        figure = quality_against_length(of(*bits))
        assert figure is not None
        bottom, top = figure.axes[0].get_ylim()
        assert bottom < top
        assert set(names(figure.axes[0], of(*bits))) == {"0", "1"}, "without values"
        if math.isfinite(bits[0]):
            assert bottom < 1.0 < top
