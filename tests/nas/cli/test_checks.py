"""Bounds of numeric options: each one is checked, and told in one form."""

import functools
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import pytest

from nas.cli import checks
from nas.cli.checks import check, check_bounds, check_choice, check_same
from nas.config import flat
from nas.errors import UserError
from nas.runs.folder import plain
from nas.runs.options import FOLDER, PLACES
from nas.search_spaces.options import BOUNDS, Bounds
from tests.nas.commands import composed

COMMANDS = {
    "search": ("+space=token_hybrid", "searcher=evolution"),
    "mqar": ("+space=joint", "data=mqar", "searcher=optuna"),
    "needle": ("+space=joint", "data=needle", "searcher=random"),
    "state tracking": ("+space=joint", "data=state_tracking"),
    "text": ("+space=joint", "data=text"),
    "sweep": ("+space=token_hybrid",),
    "train": ("architecture=softmax",),
    "compare": (),
    "visualize": ("run=nowhere",),
}
"""Options of commands that have, taken together, every group of options; of nas.search unless one is named."""


@functools.cache
def _composed(name: str) -> Any:
    return composed(name if name in ("sweep", "train", "compare", "visualize") else "search", *COMMANDS[name])


def config_of(name: str) -> Any:
    return deepcopy(_composed(name))


def bounded(config: Any, group: str = "") -> Iterator[tuple[str, Any, str, Bounds]]:
    """Each option with bounds: its name, the dataclass that holds it, its name there, and its bounds."""
    for own in fields(config):
        value = getattr(config, own.name)
        if is_dataclass(value):
            yield from bounded(value, f"{group}{own.name}.")
        elif BOUNDS in own.metadata:
            yield f"{group}{own.name}", config, own.name, own.metadata[BOUNDS]


def outside(bounds: Bounds) -> list[float]:
    """Numbers that are not allowed, as near to those that are as a float can be."""
    low = bounds.above if bounds.at_least is None else math.nextafter(bounds.at_least, -math.inf)
    high = bounds.below if bounds.at_most is None else math.nextafter(bounds.at_most, math.inf)
    return [number for number in (low, high, math.nan, math.inf) if number is not None]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_has_by_default_is_allowed_and_every_bound_is_checked(name: str) -> None:
    config = config_of(name)
    check_bounds(config)
    options = list(bounded(config))
    assert options
    for option, holder, own, bounds in options:
        before = getattr(holder, own)
        for number in outside(bounds):
            setattr(holder, own, number)
            with pytest.raises(UserError) as refused:
                check_bounds(config)
            assert str(refused.value) == f"{option}={number} is not allowed; {bounds.advice}."
        setattr(holder, own, before)
    check_bounds(config)


@pytest.mark.parametrize(
    ("command", "option", "given", "advice"),
    [
        ("search", "data.keys", 0, "give 1 or more"),
        ("search", "data.queries", 0, "give 1 or more"),
        ("search", "data.block_margin", -1, "give 0 or more"),
        ("search", "data.validation_batches", 0, "give 1 or more"),
        ("search", "budget.context", 0, "give 1 or more"),
        ("search", "budget.learnt_at", -0.1, "give a number from 0 to 1"),
        ("search", "budget.dense_until", 1.1, "give a number from 0 to 1"),
        ("search", "budget.dense_until", math.nan, "give a number from 0 to 1"),
        ("search", "budget.tighten_over", -1.0, "give a number from 0 to 1"),
        ("search", "budget.rate", -0.1, "give 0 or more"),
        ("search", "budget.rate", math.inf, "give 0 or more"),
        ("search", "budget.gain", math.nan, "give 0 or more"),
        ("search", "budget.price", -0.1, "give 0 or more"),
        ("search", "budget.settle_from", 2.0, "give a number from 0 to 1"),
        ("search", "budget.max_multiplier", math.nan, "give 0 or more"),
        ("search", "trainer.beta2", 1.0, "give a number from 0 to below 1"),
        ("mqar", "data.length", 0, "give 1 or more"),
        ("mqar", "data.pairs", 0, "give 1 or more"),
        ("mqar", "data.power_a", 0.0, "give a number over 0 and at most 1"),
        ("mqar", "data.power_a", math.nan, "give a number over 0 and at most 1"),
        ("mqar", "data.batch_size", 0, "give 1 or more"),
        ("needle", "data.value_length", 0, "give 1 or more"),
        ("needle", "data.validation_batches", 0, "give 1 or more"),
        ("state tracking", "data.modulus", 1, "give 2 or more"),
        ("state tracking", "data.min_length", 0, "give 1 or more"),
        ("state tracking", "data.batch_size", 0, "give 1 or more"),
        ("text", "data.length", 0, "give 1 or more"),
        ("text", "data.batch_size", 0, "give 1 or more"),
        ("text", "data.validation_batches", 0, "give 1 or more"),
        ("sweep", "sweep.prune_every", 0, "give 1 or more"),
        ("sweep", "sweep.retries", -1, "give 0 or more"),
        ("compare", "tuning_seeds", 0, "give 1 or more"),
    ],
    ids=str,
)
def test_a_number_out_of_bounds_is_told_with_what_would_do(
    command: str, option: str, given: float, advice: str
) -> None:
    config = config_of(command)
    *groups, own = option.split(".")
    holder = config
    for group in groups:
        holder = getattr(holder, group)
    setattr(holder, own, given)
    with pytest.raises(UserError) as refused:
        check_bounds(config)
    assert str(refused.value) == f"{option}={given} is not allowed; {advice}."


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("relaxation.name", "soft", r"relaxation\.name=soft is unknown; choose one of: argmax_ste"),
        ("relaxation.router", "soft", r"relaxation\.router=soft is unknown; choose one of: argmax_ste"),
        ("trainer.cuda_graphs", "often", r"trainer\.cuda_graphs=often is unknown; give auto, true or false"),
        ("trainer.accelerator", "nonsense", r"trainer\.accelerator=nonsense, .* cannot work here: "),
    ],
)
def test_the_first_option_that_cannot_work_is_named(option: str, value: str, told: str) -> None:
    config = config_of("search")
    config.trainer.accelerator = "cpu"
    check(config)
    group, _, name = option.partition(".")
    setattr(getattr(config, group), name, value)
    with pytest.raises(UserError, match=told):
        check(config)


def test_a_choice_is_one_of_its_choices() -> None:
    check_choice("fruit", "pear", ["apple", "pear"])
    with pytest.raises(UserError, match=r"fruit=plum is unknown; choose one of: apple, pear\."):
        check_choice("fruit", "plum", ["apple", "pear"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", 2), ("data.length", 128), ("trainer.steps", 7), ("model.width", 32), ("plugins", ["x"])],
)
def test_processes_with_different_options(monkeypatch: pytest.MonkeyPatch, option: str, value: Any) -> None:
    config = config_of("search")
    first = {n: v for n, v in plain(flat(asdict(config))).items() if n not in (*FOLDER, *PLACES)}
    monkeypatch.setattr(checks, "from_first", lambda make: first)
    check_same(config)
    config.data.path, config.output = "elsewhere", "elsewhere"
    check_same(config)
    given = first[option]
    first[option] = value
    with pytest.raises(UserError) as error:
        check_same(config)
    assert f"{option}={given} in this process, but {option}={value} in process 0" in str(error.value)
    del first[option]
    with pytest.raises(UserError, match=f"{option}=absent in process 0"):
        check_same(config)
