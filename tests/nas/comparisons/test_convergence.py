"""Contenders that still improve at the end of their trainings are named."""

from dataclasses import replace

import pytest

from nas.comparisons.convergence import late_gain, still_improving
from nas.comparisons.results import Comparison
from nas.comparisons.summary import Summary
from tests.nas.commands import Ended
from tests.nas.comparisons.comparing import comparison as compared_in
from tests.nas.comparisons.examples import comparison, contender, trained


@pytest.mark.parametrize(("measure", "gain"), [("recall", 0.3), ("bits_per_byte", -0.3), ("accuracy", None)])
def test_the_gain_is_measured_over_the_last_fifth(measure: str, gain: float | None) -> None:
    name = "validation_recall" if measure == "accuracy" else f"validation_{measure}"
    qualities = {10: 0.1, 20: 0.2, 70: 0.4, 80: 0.5, 90: 0.9, 100: 0.8}
    history = [{"step": 5.0, "loss": 3.0}, *({"step": float(s), name: q} for s, q in qualities.items())]
    assert late_gain(history, measure) == (None if gain is None else pytest.approx(gain))
    assert late_gain(history[-1:], measure) is None, "no validation before"


def improving(*gains: float | None, margin: float = 0.0) -> Comparison:
    runs = [
        replace(trained(seed, {1: 0.5}), late_gain=gain, margin={1: margin} if margin else {})
        for seed, gain in enumerate(gains)
    ]
    still = [trained(seed, {1: 0.5}) for seed in range(len(gains))]
    return comparison(contender("late", *runs), contender("linear", *still))


def test_a_contender_is_named_if_it_improves_by_more_than_the_noise_of_its_seeds() -> None:
    assert still_improving(improving(0.05, 0.06, 0.04)) == {"late": pytest.approx(0.05)}
    assert still_improving(improving(0.2, -0.05, 0.0)) == {}
    assert still_improving(improving(-0.05, -0.06, -0.04)) == {}
    assert still_improving(improving(0.05, margin=0.02)) == {"late": 0.05}
    assert still_improving(improving(0.05, margin=0.08)) == {}
    assert still_improving(improving(None, None)) == {}
    notes = Summary.of(improving(0.05, 0.06, 0.04)).notes
    (note,) = (note for note in notes if note.startswith("Not converged: "))
    assert "recall still improved beyond the noise of late (by 0.05" in note


def test_a_comparison_measures_it(compared: Ended) -> None:
    runs = [run for one in compared_in(compared.run).contenders for run in one.runs]
    assert all(run.late_gain is not None for run in runs)
    assert len({run.late_gain for run in runs}) > 1
