"""Registry of the additions of plugins, with checks at registration."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, NamedTuple

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas import search_spaces
from nas.config import SCHEMAS, DataConfig, RandomConfig
from nas.errors import UserError
from nas.plugins.installed import OPERATION, SEARCHER, SPACE, TASK, Kind, describe, entry_point
from nas.search_spaces import operations as mixers
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.space import Space

NAME = re.compile(r"\w[\w-]*")
NOT_OF_A_TASK = ("name", "length_factors")
"""Options of data that `nas.data.build_task` does not pass to the task."""


@dataclass(frozen=True)
class Added:
    """A registered addition of a plugin.

    Attributes:
        make: function or class of the plugin, or the operation itself.
        options: dataclass of its options; NoneType if it has none.
        plugin: name of the plugin in messages.
    """

    make: Any
    options: type
    plugin: str


class Offer(NamedTuple):
    """An addition that a plugin is registering; see `Added`."""

    kind: Kind
    name: str
    make: Any
    options: type

    @property
    def plugin(self) -> str:
        """The plugin's name in messages: the plugin that is being imported, else the module of the function."""
        return _loading[-1] if _loading else str(getattr(self.make, "__module__", "__main__"))

    def refusal(self, reason: str) -> UserError:
        """Return the error of a failed registration; the loader adds the plugin's name while it imports one."""
        where = "" if _loading else f"plugin {self.plugin}: "
        return UserError(f"{where}{self.kind.name} {self.name}: {reason}")


_added: dict[tuple[Kind, str], Added] = {}
_loading: list[str] = []
"""Plugins that are being imported, the innermost last."""


def register_space(
    name: str, make: Callable[[Any, ModelConfig, int], Space], options: type[SpaceConfig] = SpaceConfig
) -> None:
    """Add a search space.

    Args:
        name: name in ``+space=name`` and in ``space.name`` of its YAML.
        make: function of the options of the space, the sizes of the model and the number of token ids that returns the
            space. A ValueError from it is shown as one line.
        options: dataclass derived from `SpaceConfig`, for a space with its own options. Its YAML begins with
            ``defaults: [/space/<name>_schema@space]``, without own options with ``[/space/schema@space]``.
    """
    offer = Offer(SPACE, name, make, options)
    _check_name(offer, name in search_spaces.names())
    _check_options(offer, SpaceConfig)
    _check_call(offer, "(config, model, vocab_size)", (None, None, None), {})

    def checked(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
        made = make(config, model, vocab_size)
        if not isinstance(made, Space):
            raise misbehaviour(SPACE, name, "returned", "return a Space of nas.search_spaces.space", made)
        return made

    _add(offer)
    search_spaces.register(name, checked)


def register_task(name: str, make: Callable[..., Any], options: type[DataConfig]) -> None:
    """Add a task to train on.

    Args:
        name: name in ``data=name`` and in ``name`` of its YAML.
        make: function that returns a `nas.data.Task`, called with ``seed`` and every option except ``name`` and
            ``length_factors``, all by keyword. A UserError or ValueError from it is shown as one line.
        options: dataclass derived from `DataConfig`. The task's YAML begins with ``defaults: [<name>_schema]``.
    """
    offer = Offer(TASK, name, make, options)
    _check_name(offer, f"data/{name}_schema" in SCHEMAS)
    _check_options(offer, DataConfig)
    given = [field.name for field in fields(options) if field.name not in NOT_OF_A_TASK] + ["seed"]
    _check_call(offer, f"({', '.join(f'{option}=...' for option in given)})", (), dict.fromkeys(given))
    _add(offer)


def register_searcher(name: str, search: Callable[..., Any], options: type[RandomConfig] = RandomConfig) -> None:
    """Add a searcher.

    Args:
        name: name in ``searcher=name`` and in ``searcher.name`` of its YAML.
        search: function with the signature in `nas.searchers`, which returns the score of each scored architecture by
            code.
        options: dataclass derived from `RandomConfig`. The searcher's YAML begins with
            ``defaults: [/searcher/<name>_schema@searcher]``.
    """
    offer = Offer(SEARCHER, name, search, options)
    _check_name(offer, f"searcher/{name}_schema" in SCHEMAS)
    _check_options(offer, RandomConfig)
    _check_call(offer, "(space, score, excess, settings, random)", (None,) * 5, {})
    _add(offer)


def register_operation(operation: Any) -> None:
    """Add an operation.

    Args:
        operation: object of a class derived from `nas.models.operations.Branch` or `Standalone`, with its name in
            ``space.operations=[name]`` and ``architecture=name-softmax`` as attribute ``name``.
    """
    offer = Offer(OPERATION, getattr(operation, "name", ""), operation, type(None))
    if isinstance(operation, type):
        raise offer.refusal(f"{_function(operation)} is a class; give an object of it: {operation.__name__}().")
    _check_name(offer, offer.name in mixers.names())
    _add(offer)


def registered(kind: Kind, name: str) -> Added | None:
    """Return the addition of a name; None if the name is not registered."""
    return _added.get((kind, name))


def registered_names(kind: Kind) -> list[str]:
    """Return the registered names of a kind, sorted."""
    return sorted(name for own, name in _added if own == kind)


@contextmanager
def loading(plugin: str) -> Iterator[list[tuple[Kind, str]]]:
    """Register additions of the block under the name of a plugin, and remove them if the block fails.

    Yields:
        A list that contains, after the block, kind and name of each addition of the block.
    """
    before = dict(_added)
    new: list[tuple[Kind, str]] = []
    _loading.append(plugin)
    try:
        yield new
    except BaseException:
        for kind, name in _added.keys() - before.keys():
            _forget(kind, name)
        raise
    finally:
        _loading.pop()
        new += _added.keys() - before.keys()


def misbehaviour(kind: Kind, name: str, did: str, wanted: str, given: object) -> UserError:
    """Return the error for a plugin's function with a wrong value.

    Args:
        kind: kind of the addition.
        name: name of the addition.
        did: verb for the message, such as "returned".
        wanted: requirement for the message, after "it must".
        given: wrong value.
    """
    added = _added[kind, name]
    what = f"{_function(added.make)} of {kind.name} {name}"
    return UserError(f"plugin {added.plugin}: {what} {did} {_short(given)}; it must {wanted}.")


def _add(offer: Offer) -> None:
    kind, name = offer.kind, offer.name
    if (kind, name) in _added:
        _forget(kind, name)  # the same function after a reload of its module
    _added[kind, name] = Added(offer.make, offer.options, offer.plugin)
    if kind.group is not None:
        SCHEMAS[f"{kind.group}/{name}_schema"] = offer.options
        ConfigStore.instance().store(name=f"{name}_schema", node=offer.options, group=kind.group)


def _forget(kind: Kind, name: str) -> None:
    del _added[kind, name]
    if kind.group is not None:
        del SCHEMAS[f"{kind.group}/{name}_schema"]
        del ConfigStore.instance().repo[kind.group][f"{name}_schema.yaml"]
    if kind == SPACE:
        search_spaces.forget(name)


def _check_name(offer: Offer, known: bool) -> None:
    """Raise a UserError if a name is not valid or is taken."""
    kind, name = offer.kind, offer.name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise offer.refusal("is not a valid name; give letters, digits, _ and -, as in the name of a file.")
    if (earlier := _added.get((kind, name))) is not None:
        if _function(earlier.make) == _function(offer.make):
            return
        raise offer.refusal(f"the name is taken by plugin {earlier.plugin}; choose another name.")
    if known:
        raise offer.refusal("the name is taken by nas itself; choose another name.")
    announced = entry_point(kind, name)
    if announced is None or offer.plugin == describe(announced):
        return
    if announced.module.partition(".")[0] != str(getattr(offer.make, "__module__", "")).partition(".")[0]:
        raise offer.refusal(f"the name is taken by plugin {describe(announced)}; choose another name.")


def _check_options(offer: Offer, base: type) -> None:
    """Raise a UserError if the options cannot be merged into a config, or cannot be sent to a worker."""
    options = offer.options
    given = getattr(options, "__qualname__", _short(options))
    if not isinstance(options, type) or not issubclass(options, base):
        needed = f"{base.__name__} of {base.__module__}"
        raise offer.refusal(f"options {given} must be a dataclass derived from {needed}.")
    if "__dataclass_fields__" not in vars(options):
        raise offer.refusal(f"options {given} is not a dataclass; put @dataclass in front of it.")
    if "<locals>" in given:
        raise offer.refusal(f"options {given} must be at the top level of a module, so that workers can import it.")
    try:
        OmegaConf.structured(options)
    except OmegaConfBaseException as error:
        raise offer.refusal(f"options {given} cannot be a config: {str(error).splitlines()[0]}") from error


def _check_call(offer: Offer, form: str, given: tuple[None, ...], named: dict[str, None]) -> None:
    """Raise a UserError if a function does not take the arguments of its calls."""
    if not callable(offer.make):
        raise offer.refusal(
            f"{_short(offer.make)} is not a function; give a function that makes the {offer.kind.name}."
        )
    try:
        takes = signature(offer.make)
    except ValueError:
        return  # written in C, without a signature
    try:
        takes.bind(*given, **named)
    except TypeError as error:
        own = f"{_function(offer.make)}({', '.join(takes.parameters)})"
        raise offer.refusal(f"{own} cannot be called with {form}: {error}.") from error


def _function(make: object) -> str:
    module, name = getattr(make, "__module__", None), getattr(make, "__qualname__", type(make).__qualname__)
    return f"{module}.{name}" if module else _short(make)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
