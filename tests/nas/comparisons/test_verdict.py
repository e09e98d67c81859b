"""The verdict on a comparison."""

from dataclasses import replace

from nas.comparisons.results import Comparison, TrainedContender
from nas.comparisons.summary import Summary
from nas.comparisons.table import to_markdown
from nas.comparisons.verdict import verdict
from tests.nas.comparisons.examples import by_seed, comparison, recall, text

CHANCE = 1 / 64


def of(given: Comparison, chance: float | None = CHANCE) -> list[str]:
    return verdict(Summary.of(replace(given, chance=chance)))


def test_searched_models_are_set_against_the_best_baseline_at_both_ends() -> None:
    assert of(recall(), None) == [
        "token_hybrid and softmax, the best baseline at the training length, do not differ beyond the noise: +0.000 "
        "recall (-0.002 to +0.002).",
        "layer_hybrid and softmax, the best baseline at the training length, do not differ beyond the noise: +0.000 "
        "recall (-0.002 to +0.002).",
        "token_hybrid beats nats_l, the best baseline at 8x the training length: +0.052 recall (+0.017 to +0.088).",
        "layer_hybrid loses to nats_l, the best baseline at 8x the training length: -0.418 recall (-0.484 to -0.351).",
    ]


def test_the_best_placement_is_chosen_by_tuning_and_not_by_what_is_reported() -> None:
    def placed(name: str, merit: float, *qualities: float) -> TrainedContender:
        return replace(by_seed(name, *qualities), placements="sl..ls", tried={1e-3: 0.99, 2e-3: merit})

    placements = (placed("sl", 0.6, 0.9, 0.91, 0.92), placed("ls", 0.7, 0.8, 0.81, 0.82))
    found = by_seed("token_hybrid", 0.85, 0.86, 0.87, searched=True)
    summary = Summary.of(comparison(found, by_seed("softmax", 0.83, 0.82, 0.84), *placements))
    assert summary.best == {1: "softmax"}, "sl is better, but was not chosen"
    assert [pair.baseline for pair in summary.pairs] == ["softmax", "ls"]
    sentences = verdict(summary)
    assert sentences[1] == (
        "The best placement by hand of sl..ls, chosen on the tuning seeds, is ls: recall 0.810 at the training length."
    )
    assert sentences[2].startswith("token_hybrid beats ls, the best placement by hand at the training length: +0.050")
    alone = Summary.of(comparison(*placements))
    assert alone.best == {1: "ls"}
    assert [pair.contender for pair in alone.pairs] == ["sl"], "without a search all others are tested"


def test_models_at_chance_learnt_nothing() -> None:
    found = of(comparison(by_seed("softmax", 0.9, 0.91, 0.9), by_seed("linear", 0.01, 0.02, 0.018)))
    assert found[0] == "Nothing was learnt by linear: recall is no better than chance, 0.016."
    assert of(comparison(by_seed("softmax", 0.01, 0.02), by_seed("linear", 0.016, 0.017))) == [
        "Nothing was learnt: no model's recall is better than chance, 0.016. Train longer; the comparison means "
        "nothing yet."
    ]
    assert of(text(), 4.5)[0].startswith("token_hybrid ")
    assert of(text(), 1.9)[0].startswith("Nothing was learnt: no model's bits per byte is better than chance")


def test_one_seed_has_the_noise_of_its_sequences_and_no_test() -> None:
    one = by_seed("softmax", 0.02)
    noisy = replace(one, runs=tuple(replace(run, margin={1: 0.01}) for run in one.runs))
    assert of(comparison(one, by_seed("linear", 0.9))) == [
        "linear is the best at the training length, from one seed: no difference was tested."
    ]
    assert of(comparison(noisy, by_seed("linear", 0.9)))[0].startswith("Nothing was learnt by softmax:")
    assert of(comparison(by_seed("token_hybrid", 1.0, searched=True), by_seed("linear", 0.25))) == [
        "token_hybrid against linear, the best baseline at the training length: +0.750 recall, from one seed, not "
        "tested."
    ]


def test_without_searched_models_the_best_is_named_with_its_equals() -> None:
    good, close, bad = by_seed("a", 0.9, 0.91, 0.9), by_seed("b", 0.9, 0.905, 0.9), by_seed("c", 0.1, 0.11, 0.1)
    assert of(comparison(good, close, bad)) == [
        "a is the best at the training length, but its lead over b is within the noise of the seeds."
    ]
    assert of(comparison(good, bad)) == [
        "a is ahead of all other models at the training length, beyond the noise of the seeds."
    ]
    assert of(comparison(good)) == []


def test_only_what_is_ahead_beyond_the_noise_is_bold() -> None:
    good, close, bad = by_seed("a", 0.9, 0.91, 0.9), by_seed("b", 0.9, 0.905, 0.9), by_seed("c", 0.1, 0.11, 0.1)
    searched = by_seed("d", 0.95, 0.96, 0.95, searched=True)

    def bold(*contenders: object) -> list[object]:
        summary = Summary.of(comparison(*contenders))  # type: ignore[arg-type]
        assert to_markdown(summary).count("**") == 2 * sum(summary.ahead(row, 1) for row in summary.rows)
        return [row["model"] for row in summary.rows if summary.ahead(row, 1)]

    assert bold(good, close, bad) == []
    assert bold(good, bad) == ["a"]
    assert bold(searched, good, bad) == ["d"]
    assert bold(replace(bad, searched=True), good) == ["a"]
    assert bold(good) == []
