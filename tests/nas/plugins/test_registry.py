import math
import re
from dataclasses import dataclass, make_dataclass
from random import Random
from typing import Any

import pytest
import torch

from nas import search_spaces
from nas.config import DataConfig, EvolutionConfig, RandomConfig
from nas.data import build_task, byte_lengths_of, chance_of, token_of
from nas.errors import UserError
from nas.models import operations
from nas.models.operations import Window
from nas.plugins import register_operation, register_searcher, register_space, register_task
from nas.plugins.installed import SPACE, TASK
from nas.plugins.registry import loading, registered, registered_names
from nas.search_spaces import operations as mixers
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.space import Space
from nas.searchers import find_searcher
from tests.nas.architectures import small
from tests.nas.plugins.written import Plugins

pytestmark = pytest.mark.usefixtures("plugins")


@dataclass
class OwnData(DataConfig):
    symbols: int = 3


@dataclass
class Untyped(DataConfig):
    symbols: object = torch.float32


class Undecorated(SpaceConfig):
    every: int = 2


def one_space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    return Space.of(small("linear"))


def other_space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    return Space.of(small("softmax"))


def two_arguments(config: SpaceConfig, model: ModelConfig) -> Space:
    raise NotImplementedError


def own_task(*, symbols: int, length: int, batch_size: int, validation_batches: int, seed: int) -> Any:
    raise NotImplementedError


def task_without_symbols(*, length: int, batch_size: int, validation_batches: int, seed: int) -> Any:
    raise NotImplementedError


def test_a_space_is_built_by_its_name() -> None:
    register_space("one", one_space)
    config = SpaceConfig(name="one")
    assert search_spaces.build(config, ModelConfig(), 9) == one_space(config, ModelConfig(), 9)
    assert "one" in search_spaces.names()
    assert registered_names(SPACE) == ["one"]


class Half(Window):
    """An operation that another package derives from one of nas."""

    name = "half"


class NoBranch:
    """Not derived from an operation."""

    name = "none"


def test_an_operation_is_known_by_its_name() -> None:
    operation = Half()
    register_operation(operation)
    assert mixers.known("half")
    assert operations.find("half") is operation
    assert small("half").layers[0].operations == ("half",)
    assert not mixers.known("quarter")


def test_an_operation_of_another_class() -> None:
    register_operation(NoBranch())
    with pytest.raises(UserError, match=r"plugin .*NoBranch of operation none is of another class .* it must be a Br"):
        operations.find("none")


def test_the_same_function_may_register_again() -> None:
    register_space("one", one_space)
    register_space("one", one_space)
    assert registered_names(SPACE) == ["one"]


@pytest.mark.parametrize(
    ("register", "told"),
    [
        (lambda: register_space("one", other_space), "space one: the name is taken by plugin "),
        (lambda: register_space("token_hybrid", one_space), "token_hybrid: the name is taken by nas itself"),
        (lambda: register_task("recall", own_task, OwnData), "recall: the name is taken by nas itself"),
        (lambda: register_searcher("gradient", find_searcher("random")), "taken by nas itself"),
        (lambda: register_operation(Half), r"test_registry\.Half is a class; give an object of it: Half\(\)"),
        (lambda: register_operation(Window()), "operation window: the name is taken by nas itself"),
        (lambda: register_operation(3), "is not a valid name"),
        (lambda: register_space("a/b", one_space), "space a/b: is not a valid name; give letters"),
        (
            lambda: register_space("two", two_arguments),
            r"two_arguments\(config, model\) cannot be called with \(config, model, vocab_size\)",
        ),
        (lambda: register_space("two", "one_space"), "space two: 'one_space' is not a function"),
        (
            lambda: register_task("own", task_without_symbols, OwnData),
            r"called with \(length=.*symbols=.*seed=...\): got an unexp",
        ),
        (
            lambda: register_searcher("own", two_arguments),
            r"called with \(space, score, excess, settings, random\): too",
        ),
        (
            lambda: register_space("two", one_space, DataConfig),
            "DataConfig must be a dataclass derived from SpaceConfig",
        ),
        (
            lambda: register_space("two", one_space, Undecorated),
            "options Undecorated is not a dataclass; put @dataclass",
        ),
        (lambda: register_task("own", own_task, Untyped), "options Untyped cannot be a config: "),
        (
            lambda: register_task("own", own_task, 3),
            "options 3 must be a dataclass derived from DataConfig of nas.options.tasks",
        ),
        (lambda: register_searcher("own", find_searcher("random"), DataConfig), "derived from RandomConfig"),
    ],
)
def test_a_registration_that_cannot_work(register: Any, told: str) -> None:
    register_space("one", one_space)
    with pytest.raises(UserError, match=told) as refused:
        register()
    assert "plugin " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert registered_names(SPACE) == ["one"]


def test_options_that_a_worker_could_not_find() -> None:
    @dataclass
    class Local(DataConfig):
        symbols: int = 3

    with pytest.raises(UserError, match="Local must be at the top level of a module"):
        register_task("own", own_task, Local)


def test_what_a_plugin_registered_is_taken_back_where_it_fails() -> None:
    def fail() -> None:
        with loading("theirs"):
            register_space("one", one_space)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert registered(SPACE, "one") is None
    assert "one" not in search_spaces.names()
    register_space("one", other_space)


def test_a_name_that_an_installed_plugin_announces(plugins: Plugins) -> None:
    plugins.install("their-project", "1.2", spaces="one = their_package.spaces")
    with pytest.raises(UserError, match=r"one: the name is taken by plugin their-project 1\.2 \(entry point one"):
        register_space("one", one_space)


def test_a_space_that_is_none() -> None:
    register_space("one", lambda config, model, vocab_size: [])
    with pytest.raises(
        UserError, match=r"plugin .*test_registry: .* of space one returned \[\]; it must return a Space"
    ):
        search_spaces.build(SpaceConfig(name="one"), ModelConfig(), 9)


class Silent:
    """A task without batches to validate on."""

    name, vocab_size, quality = "own", 3, "accuracy"

    def __init__(self, **options: Any) -> None:
        assert options == {"symbols": 3, "length": 8, "batch_size": 1, "validation_batches": 1, "seed": 5}

    def train_batch(self, step: int) -> None: ...

    full_batch = selection_batches = token_text = train_batch


class Unmeasured(Silent):
    quality = "beauty"
    validation_batches = Silent.train_batch


class Worded(Unmeasured):
    quality = "bits_per_byte"


class Odd(Unmeasured):
    quality, token = "bits_per_token", "word"


class Lucky(Unmeasured):
    quality, chance = "accuracy", 0.5


class Hopeless(Unmeasured):
    quality = "accuracy"

    def chance(self) -> float:
        return math.nan


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (Silent, r"Silent of task own returned .*this has no validation_batches"),
        (Unmeasured, "quality 'beauty'; it must"),
        (Worded, "quality 'bits_per_byte'; it must be bits_per_token, since it does not say"),
        (Lucky, r"has the chance 0\.5; it must be a method that returns the quality of a model that ignores"),
        (Hopeless, "has the chance nan; it must be a method"),
        (Odd, "has the tokens 'word'; it must be byte or token"),
    ],
)
def test_a_task_that_is_none(task: type, told: str) -> None:
    register_task("own", task, OwnData)
    config = OwnData(name="own", length=8, batch_size=1, validation_batches=1, length_factors=[1])
    with pytest.raises(UserError, match=told):
        build_task(config, 5)


@pytest.mark.parametrize(("quality", "token"), [("bits_per_token", "token"), ("bits_per_byte", "byte")])
def test_a_task_says_what_its_tokens_are(quality: str, token: str) -> None:
    own = type("Own", (Unmeasured,), {"quality": quality} | ({"token": "byte"} if token == "byte" else {}))
    register_task("own", own, OwnData)
    task = build_task(OwnData(name="own", length=8, batch_size=1, validation_batches=1, length_factors=[1]), 5)
    assert token_of(task) == token
    assert chance_of(task) is None


def test_tokens_of_a_task_may_have_several_bytes() -> None:
    own = type("Own", (Unmeasured,), {"quality": "bits_per_byte", "byte_lengths": torch.tensor([1, 4, 0])})
    register_task("own", own, OwnData)
    task = build_task(OwnData(name="own", length=8, batch_size=1, validation_batches=1, length_factors=[1]), 5)
    assert byte_lengths_of(task) is not None


def test_a_task_with_the_options_of_another() -> None:
    config = OwnData(name="recall", length=8, batch_size=1, validation_batches=1, length_factors=[1])
    with pytest.raises(UserError, match=r"data.name=recall does not fit the given options; give data=recall"):
        build_task(config, 5)
    config.name = "poems"
    with pytest.raises(
        UserError, match=r"data.name=poems is unknown; choose one of: identifiers, mqar, needle, recall"
    ):
        build_task(config, 5)
    assert registered(TASK, "poems") is None


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (lambda score: None, "of searcher own returned None; it must return a dict of scores by code"),
        (lambda score: {(0,): 1.0}, r"returned \{\(0,\): 1.0\}; it must return a dict of scores by code"),
        (lambda score: {(7,): score((7,))}, r"scored \(7,\); it must score codes of the space"),
        (lambda score: {0: score([0])}, r"scored \[0\]; it must score codes of the space"),
    ],
)
def test_a_searcher_that_does_something_else(found: Any, told: str) -> None:
    register_searcher("own", lambda space, score, excess, settings, random: found(score))
    with pytest.raises(UserError, match=told):
        find_searcher("own")(Space.of(small("linear")), lambda code: 1.0, lambda code: 0.0, RandomConfig(), Random(0))


def test_a_searcher_takes_options_of_its_own() -> None:
    options = make_dataclass("Options", [("depth", int, 2)], bases=(EvolutionConfig,))
    register_searcher(
        "own", lambda space, score, excess, settings, random: {(0,): score((0,)) * settings.depth}, options
    )
    searcher = find_searcher("own")
    assert searcher(Space.of(small("linear")), lambda code: 1.5, lambda code: 0.0, options(), Random(0)) == {(0,): 3.0}


def test_an_unknown_searcher() -> None:
    register_searcher("own", find_searcher("random"))
    with pytest.raises(
        UserError, match=re.escape("choose one of: gradient, halving, rule, random, evolution, optuna, own.")
    ):
        find_searcher("best")
