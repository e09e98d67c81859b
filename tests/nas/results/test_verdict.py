"""The verdict on a run."""

import math
from typing import Any

import pytest

from nas.evaluation.noise import Estimate
from nas.results.controls import FOUND, HEALED, RANDOM, RANDOM_ARCHITECTURE
from nas.results.verdict import Verdict, verdict
from nas.runs.metrics import Row
from tests.nas.runs.examples import row

NOISE = "± is the 95 % interval over 64 validation sequences of one training; trainings with other seeds vary more."


def of(*rows: Row, measure: str = "recall", chance: float | None = 1 / 64, share: float | None = 0.07) -> Verdict:
    return verdict(measure, chance, rows, 64, share)


def learnt(quality: float = 0.5, name: str = "searched routing", **changed: Any) -> Row:
    return row(name, quality, **{"margin": 0.01} | changed)


def control(difference: float, margin: float = 0.02, name: str = RANDOM) -> Row:
    return row(name, 0.4, lead=Estimate(difference, margin))


def test_routers_that_beat_random_routing_are_ahead() -> None:
    found = of(learnt(), control(0.31), control(0.01, name="all softmax"))
    assert found.ahead
    assert found.sentences == (
        "Recall is 0.500 ± 0.010; a model that ignores its input has 0.016.",
        "The routers beat random routing at the same softmax share by 0.310 ± 0.020 recall.",
        "The row all softmax is not a model trained with softmax attention: in training its weights sent 7 % of the "
        "chunks to softmax.",
        NOISE,
    )


def test_a_healed_model_is_not_what_was_compared() -> None:
    rows = (learnt(name=HEALED), control(0.31, name=RANDOM_ARCHITECTURE), row(FOUND, 0.4))
    _, beats, compared, shared, _ = of(*rows).sentences
    assert beats.startswith("The found architecture beats a random architecture of at most its cost by 0.310")
    assert compared == "This compares the found architecture before its healing."
    assert shared.startswith("All rows but the healed model share the weights of one supernet;")
    routed = (learnt(name=HEALED), control(0.31), control(0.01, name="all softmax"), row("searched routing", 0.4))
    assert of(*routed).sentences[2].startswith("The row all softmax is not a model trained with softmax attention")
    assert len(of(learnt(name=HEALED), row("trained model", 0.4)).sentences) == 1


@pytest.mark.parametrize(
    ("measure", "difference", "ahead", "expected"),
    [
        (
            "recall",
            0.01,
            False,
            "The routers do not beat random routing at the same softmax share: better by 0.010 ± 0.020 recall, which "
            "is within the noise.",
        ),
        (
            "recall",
            -0.05,
            False,
            "The routers lose to random routing at the same softmax share by 0.050 ± 0.020 recall.",
        ),
        (
            "bits_per_byte",
            0.001,
            False,
            "The routers do not beat random routing at the same softmax share: worse by 0.001 ± 0.020 bits per byte, "
            "which is within the noise.",
        ),
        (
            "bits_per_byte",
            -0.05,
            True,
            "The routers beat random routing at the same softmax share by 0.050 ± 0.020 bits per byte.",
        ),
    ],
)
def test_a_difference_counts_only_beyond_its_noise(measure: str, difference: float, ahead: bool, expected: str) -> None:
    chance = 1 / 64 if measure == "recall" else 4.5
    found = of(learnt(), control(difference), measure=measure, chance=chance)
    assert expected in found.sentences
    assert found.ahead is ahead


def test_an_architecture_is_set_against_a_random_one_with_the_same_weights() -> None:
    found = of(learnt(name=FOUND), control(0.1, name=RANDOM_ARCHITECTURE), row("most expensive", 0.9))
    assert found.sentences[1:3] == (
        "The found architecture beats a random architecture of at most its cost by 0.100 ± 0.020 recall.",
        "All rows share the weights of one supernet; to compare architectures, train each with nas.compare.",
    )


@pytest.mark.parametrize(
    ("measure", "quality", "margin", "chance"),
    [
        ("recall", 0.012, 0.004, 1 / 64),
        ("recall", 0.017, 0.004, 1 / 64),
        ("exact_match", 0.0, 0.0, 1e-7),
        ("bits_per_byte", 4.6, 0.1, 4.653),
        ("bits_per_byte", 7.9, None, 4.653),
    ],
)
def test_nothing_was_learnt_unless_the_quality_is_beyond_chance(
    measure: str, quality: float, margin: float | None, chance: float
) -> None:
    found = of(learnt(quality, margin=margin), control(0.31), measure=measure, chance=chance)
    (only,) = found.sentences
    assert only.startswith(f"Nothing was learnt: {measure.replace('_', ' ')} {quality:.3f}")
    assert only.endswith(
        f" is no better than chance, {chance:.3f}. Train longer; the routing and the architecture mean nothing yet."
    )
    assert not found.ahead


def test_a_model_without_controls_is_set_against_chance_alone() -> None:
    alone = learnt(name="trained model")
    assert of(alone).sentences == ("Recall is 0.500 ± 0.010; a model that ignores its input has 0.016.",)
    assert of(alone, chance=None) == Verdict(())
    assert of(learnt(0.0, "trained model")).sentences == (
        "Nothing was learnt: recall 0.000 ± 0.010 is no better than chance, 0.016. Train longer; its figures mean "
        "nothing yet.",
    )


def test_a_training_that_diverged_has_no_figures_that_mean_anything() -> None:
    assert of(learnt(math.nan), control(math.nan)) == Verdict(("The training diverged, so the figures mean nothing.",))


def test_the_share_of_the_training_is_left_out_where_it_is_not_known() -> None:
    found = of(learnt(), control(0.31), row("all softmax"), share=None)
    assert not any("all softmax" in sentence for sentence in found.sentences)
