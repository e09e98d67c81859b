"""Ranges as users write them: their meaning, and one clear message for each mistake."""

from typing import Any

import optuna
import pytest

from nas.errors import UserError
from nas.sweeps.options import varied
from nas.sweeps.ranges import Choices, Numbers, read
from tests.nas.commands import composed

OPTIONS = dict.fromkeys(
    ("model", "model.width", "model.layers", "trainer.learning_rate", "trainer.steps", "budget", "budget.target")
)
"""Of unknown type."""
RATE = {"low": 1e-3, "high": 1e-2, "log": True}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"trainer": {"learning_rate": RATE}}, {"trainer.learning_rate": Numbers(1e-3, 1e-2, True, None)}),
        ({"trainer.learning_rate": RATE}, {"trainer.learning_rate": Numbers(1e-3, 1e-2, True, None)}),
        ({"model": {"width": {"low": 16, "high": 64, "step": 16}}}, {"model.width": Numbers(16, 64, False, 16)}),
        ({"model": {"choices": ["tiny", "340m"]}}, {"model": Choices(("tiny", "340m"))}),
        ({"model.width": {"choices": [[0, 1], None]}}, {"model.width": Choices(("[0, 1]", None))}),
        (
            {"trainer": {"learning_rate": None, "steps": {"low": 1, "high": 1}}},
            {"trainer.steps": Numbers(1, 1, False, None)},
        ),
        (
            {"trainer": {"learning_rate": RATE}, "budget": {"target": None}},
            {"trainer.learning_rate": Numbers(1e-3, 1e-2, True, None)},
        ),
        (
            {"trainer": {"learning_rate": RATE}, "budget": {}},
            {"trainer.learning_rate": Numbers(1e-3, 1e-2, True, None)},
        ),
    ],
    ids=["nested", "dotted", "step", "group", "lists and null", "removed", "all of a group removed", "empty group"],
)
def test_what_is_meant(given: dict[str, Any], meant: dict[str, Any]) -> None:
    assert read(given, OPTIONS) == meant


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "sweep.ranges is empty"),
        ({"trainer": {"learning_rate": None}}, "sweep.ranges is empty"),
        ({"trainer": {"learnin_rate": RATE}}, "of the search; did you mean trainer.learning_rate?"),
        ({"budget": {"lo": 1}}, "has budget.lo, which is not an option of the search"),
        ({"trainer": {"speed": {"lo": 1}}}, "has trainer.speed.lo, which is not an option"),
        ({"model.width": RATE, "model": {"width": RATE}}, "model.width twice, dotted and nested; give the range once."),
        ({"model.width": 3}, "sweep.ranges.model.width=3 is not a range; give {low: ..., high: ...}"),
        ({"model.width": {"low": 3, "hi": 4}}, "model.width has hi; a range has low, high, log and step, or choices."),
        ({"model.width": {"lo": 3, "hi": 4}}, "model.width has lo, hi"),
        ({"model.width": {}}, "has no low and no high; give both ends, or choices."),
        ({"model.width": {"low": 3}}, "has no high"),
        ({"model.width": {"low": 4, "high": 3}}, "is empty: low=4 is over high=3; give low of at most high."),
        ({"budget.target": {"low": 0, "high": 1, "log": True}}, "log=true and low=0; give low over 0, or log=false."),
        ({"budget.target": {"low": 0.1, "high": 1, "log": True, "step": 0.1}}, "log=true and step=0.1; give one"),
        ({"budget.target": {"low": 0, "high": 1, "step": 0}}, "step=0 is not allowed"),
        ({"budget.target": {"low": "a", "high": 1}}, "low=a is not allowed; give a finite number."),
        ({"budget.target": {"low": 0, "high": float("nan")}}, "high=nan is not allowed; give a finite number."),
        ({"budget.target": {"low": 0, "high": 1, "log": "very"}}, "log=very is not allowed; give true or false."),
        ({"model.width": {"choices": []}}, "choices=[] is not a list of values"),
        ({"model.width": {"choices": 8}}, "choices=8 is not a list of values"),
        ({"model.width": {"choices": [8, 8]}}, "has a value twice; give each value once"),
        ({"model.width": {"choices": [8], "low": 1}}, "has choices and low; give one or the other"),
    ],
    ids=str,
)
def test_what_cannot_work(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as refused:
        read(given, OPTIONS)
    assert told in str(refused.value)


@pytest.fixture(scope="module")
def options() -> dict[str, Any]:
    return varied(composed("search", "+space=token_hybrid"))


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [
        ("trainer.weight_decay", {"low": 0, "high": 1}, Numbers(0.0, 1.0, False, None)),
        ("trainer.learning_rate", {"low": 1, "high": 2, "log": True}, Numbers(1.0, 2.0, True, None)),
        ("budget.rate", {"low": 0, "high": 4, "step": 2}, Numbers(0.0, 4.0, False, 2.0)),
        ("model.rope_base", {"low": 1, "high": 10000}, Numbers(1.0, 10000.0, False, None)),
        ("model.width", {"low": 16.0, "high": 64.0, "step": 16.0}, Numbers(16, 64, False, 16)),
        ("trainer.devices", {"low": 1, "high": 2}, Numbers(1, 2, False, None)),
        ("model.routed_layers", {"choices": [[0], None]}, Choices(("[0]", None))),
    ],
    ids=str,
)
def test_the_type_of_an_option_decides_what_is_drawn(
    option: str, given: dict[str, Any], meant: Numbers | Choices, options: dict[str, Any]
) -> None:
    allowed = read({option: given}, {**options, "trainer.devices": None})[option]
    assert allowed == meant
    if isinstance(meant, Numbers):
        assert isinstance(allowed, Numbers)
        assert [type(allowed.low), type(allowed.high)] == [type(meant.low), type(meant.high)]
        drawn = allowed.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask(), option)
        assert type(drawn) is type(meant.low)


@pytest.mark.parametrize(
    ("option", "given", "told"),
    [
        ("model.width", {"low": 16.5, "high": 64}, "model.width.low has 16.5, but width is an integer; give integers."),
        ("model.width", {"low": 16, "high": 64, "step": 0.5}, "model.width.step=0.5 is not allowed for an integer"),
        ("model.width", {"choices": [16, 24.5]}, "choices=[16, 24.5] has 24.5, but width is an integer"),
        ("model.width", {"low": 0, "high": 64}, "model.width.low has 0, which width may not be; give 1 or more."),
        ("trainer.beta2", {"low": 0.5, "high": 1}, "beta2.high has 1, which beta2 may not be; give a number from 0 to"),
        ("trainer.beta2", {"choices": [0.9, 2]}, "choices=[0.9, 2] has 2, which beta2 may not be"),
        ("budget.exact", {"low": 0, "high": 1}, "exact has low and high, but exact is no number; give choices."),
        ("relaxation.router", {"low": 0, "high": 1}, "router is no number; give choices."),
    ],
    ids=str,
)
def test_a_range_that_the_option_cannot_have(
    option: str, given: dict[str, Any], told: str, options: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as refused:
        read({option: given}, options)
    assert told in str(refused.value)


def test_what_is_suggested_lies_in_the_range() -> None:
    ranges = read(
        {
            "trainer.learning_rate": RATE,
            "model.width": {"low": 16, "high": 64, "step": 16},
            "model.layers": {"low": 1, "high": 8, "log": True},
            "budget.target": {"choices": [0.1, None, "[1, 2]", True]},
        },
        OPTIONS,
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [{name: allowed.suggest(trial, name) for name, allowed in ranges.items()} for trial in _trials(study, 40)]
    assert {values["model.width"] for values in drawn} == {16, 32, 48, 64}
    assert {values["budget.target"] for values in drawn} == {0.1, None, "[1, 2]", True}
    assert all(1e-3 <= values["trainer.learning_rate"] <= 1e-2 for values in drawn)  # type: ignore[operator]
    assert {values["model.layers"] for values in drawn} >= {1, 2, 3}
    assert all(isinstance(values["model.layers"], int) for values in drawn)


def _trials(study: optuna.Study, count: int) -> list[optuna.Trial]:
    return [study.ask() for _ in range(count)]


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"low": 1, "high": 3}, 3),
        ({"low": 16, "high": 70, "step": 16}, 4),
        ({"low": 0.0, "high": 1.0, "step": 0.1}, 11),
        ({"low": 0.0, "high": 1.0}, float("inf")),
        ({"choices": ["a", "b"]}, 2),
    ],
    ids=str,
)
def test_how_many_values_there_are(given: dict[str, Any], size: float) -> None:
    allowed = read({"model.width": given}, OPTIONS)["model.width"]
    assert allowed.size == size
    if size < 100:
        assert len(allowed.values()) == size
