"""Values of options: the range of every field is checked in one place, and told in one form."""

import functools
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from nas.cli import checks
from nas.cli.checks import check, check_choice, check_same, check_together, check_values, refusal
from nas.config import CONF, SCHEMAS, flat
from nas.errors import UserError
from nas.runs.folder import plain
from nas.runs.options import FOLDER, PLACES
from nas.search_spaces.options import Bounds, Option, option_of
from tests.nas.commands import SMALL, composed
from tests.nas.commands import refusal as refusal_of

COMMANDS = {
    "search": ("+space=token_hybrid", "searcher=evolution"),
    "mqar": ("+space=joint", "data=mqar", "searcher=optuna"),
    "needle": ("+space=joint", "data=needle", "searcher=random"),
    "ruler": ("+space=joint", "data=ruler"),
    "identifiers": ("+space=joint", "data=identifiers"),
    "state tracking": ("+space=joint", "data=state_tracking"),
    "text": ("+space=joint", "data=text"),
    "sweep": ("+space=token_hybrid",),
    "train": ("architecture=softmax",),
    "compare": (),
    "visualize": ("run=nowhere",),
    "generate": ("run=nowhere",),
    "evaluate": ("run=nowhere",),
}
"""Options of commands that have, taken together, every group of options; of nas.search unless one is named."""


@functools.cache
def _composed(name: str) -> Any:
    return composed(name if (CONF / f"{name}.yaml").exists() else "search", *COMMANDS[name])


def config_of(name: str) -> Any:
    return deepcopy(_composed(name))


def bounded(config: Any, group: str = "") -> Iterator[tuple[str, Any, str, Option]]:
    """Each option with bounds: its name, the dataclass that holds it, its name there, and its bounds."""
    for own in fields(config):
        value = getattr(config, own.name)
        if is_dataclass(value):
            yield from bounded(value, f"{group}{own.name}.")
        elif (allowed := option_of(own)).bounds is not None:
            yield f"{group}{own.name}", config, own.name, allowed


def outside(bounds: Bounds | None) -> list[float]:
    """Numbers that are not allowed, as near to those that are as a float can be."""
    assert bounds is not None
    low = bounds.above if bounds.at_least is None else math.nextafter(bounds.at_least, -math.inf)
    most = bounds.ceiling if bounds.at_most is None else bounds.at_most
    high = bounds.below if most is None else math.nextafter(most, math.inf)
    return [number for number in (low, high, math.nan, math.inf) if number is not None]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_has_by_default_is_allowed_and_every_bound_is_checked(name: str) -> None:
    config = config_of(name)
    check_values(config)
    options = list(bounded(config))
    assert options
    for option, holder, own, allowed in options:
        before = getattr(holder, own)
        for number in outside(allowed.bounds):
            setattr(holder, own, number)
            with pytest.raises(UserError) as refused:
                check_values(config)
            assert str(refused.value) == f"{option}={number} is not allowed; {allowed.advice(number)}."
        setattr(holder, own, before)
    check_values(config)


OPTIONS = {
    f"{schema.__name__}.{own.name}": own
    for schema in dict.fromkeys(SCHEMAS.values())
    if schema.__module__.startswith("nas.")
    for own in fields(schema)
}
ODD = (
    math.nan,
    math.inf,
    -math.inf,
    -1,
    10**18,
    1e18,
    True,
    "",
    "   ",
    "a\nb",
    [1.5],
    [-1, True],
    {"a": 1},
    [""],
    None,
)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_described_and_every_number_has_a_range(name: str) -> None:
    own = OPTIONS[name]
    allowed = option_of(own)
    assert allowed.help
    assert not allowed.help.endswith(".")
    assert len(allowed.help) <= 110
    of_numbers = str(own.type).replace(" | None", "") in NUMBERS or own.name in ("devices", "num_nodes", "workers")
    assert of_numbers == (allowed.bounds is not None)
    for value in ODD:
        odd = value if isinstance(value, list) else [value]
        words = [one for one in odd if isinstance(one, str)]
        blank = any(not one if allowed.free_text else not one.strip() or "\n" in one for one in words)
        numbers = [one for one in odd if isinstance(one, int | float) and not isinstance(one, bool)]
        no_number = any(isinstance(one, bool | dict) for one in odd)
        bounds = allowed.bounds
        wrong = bounds is not None and (no_number or not all(map(bounds.allow, numbers)))
        assert (refusal(value, allowed) is not None) == (blank or wrong), value
    if allowed.bounds is not None:
        ends = (allowed.bounds.at_most, allowed.bounds.below, allowed.bounds.ceiling)
        assert any(end is not None and math.isfinite(end) for end in ends)


NUMBERS = {"<class 'int'>", "<class 'float'>", "list[int]", "list[float]", "list[list[int]]", "int", "float"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("trainer.devices=true", "trainer.devices=true is not allowed; give auto, or -1 or more."),
        ("trainer.devices=inf", "trainer.devices=inf is not allowed; give auto, or at most 10000."),
        ("trainer.num_nodes=1.5", "trainer.num_nodes=1.5 is not allowed"),
        (f"model.width={10**18}", f"model.width={10**18} is not allowed; give at most 1000000."),
        ("model.layers=100000", "model.layers=100000 is not allowed; give at most 1000."),
        ("model.rope_base=inf", "model.rope_base=inf is not allowed; give at most 1e+12."),
        ("model.routed_layers=[7]", "model.routed_layers has 7; the model has layers 0 to 2."),
        ("model.layers=2 space.tiny_layers=-1", "space.tiny_layers=-1 is not allowed; give 1 or more."),
        ("data.length_factors=[1,-1]", "data.length_factors=[1, -1] is not allowed; give 1 or more."),
        ("budget.target=inf", "budget.target=inf is not allowed"),
        ("data.name=''", "data.name='' is not allowed; give a text that is not blank."),
        ("output='  '", "output='  ' is not allowed; give a text that is not blank."),
        (
            "data.validation_batches=1000000 data.batch_size=10000000",
            "GiB for validation batches, but this machine has",
        ),
        ("trainer.warmup_steps=300", "trainer.warmup_steps=300 is over trainer.steps=6"),
    ],
)
def test_an_odd_value_is_refused_in_one_line(given: str, told: str, tmp_path: Path) -> None:
    assert told in refusal_of("search", "+space=joint", *SMALL, f"output={tmp_path}", *re.split(" (?=[a-z])", given))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("sweep.grace=inf", "sweep.grace=inf is not allowed; give at most 1000000."),
        ("sweep.study=''", "sweep.study='' is not allowed; give a text that is not blank."),
        ("sweep.objectives=['']", "sweep.objectives=[''] is not allowed; give a text that is not blank."),
    ],
)
def test_an_odd_value_of_a_sweep_is_refused_in_one_line(given: str, told: str, tmp_path: Path) -> None:
    assert told in refusal_of("sweep", "+space=joint", *SMALL, f"output={tmp_path}", given)
    assert list(tmp_path.iterdir()) == []


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
        ("search", "budget.rate", math.inf, "give at most 1000"),
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
        check_values(config)
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
    assert f"the options differ: {option}={given} (it is {value} in process 0). Give" in str(error.value)
    del first[option], first["trainer.beta2"]
    with pytest.raises(UserError) as error:
        check_same(config)
    for missing in (option, "trainer.beta2"):
        assert f"{missing}={plain(flat(asdict(config)))[missing]} (it is absent in process 0)" in str(error.value)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("ema", 0.999, "trainer.ema=0.999 keeps a whole copy of the model"),
        ("optimizer", "muon", "trainer.optimizer=muon orthogonalises whole matrices"),
    ],
)
def test_what_needs_whole_weights_is_refused_with_sharded_ones(option: str, value: object, told: str) -> None:
    config = config_of("search")
    config.trainer.strategy = "fsdp"
    setattr(config.trainer, option, value)
    with pytest.raises(UserError, match=f"{re.escape(told)}, which trainer.strategy=fsdp shards; give .*strategy=ddp"):
        check_together(config)


@pytest.mark.parametrize("option", ["schedule", "optimizer", "answer"])
def test_a_word_of_training_that_is_unknown(option: str) -> None:
    config = config_of("search")
    setattr(config.trainer, option, "other")
    with pytest.raises(UserError, match=f"trainer.{option}=other is unknown; choose one of: "):
        check(config)
