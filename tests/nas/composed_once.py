"""Hydra's reading and merging of the files in `conf/`, done once for each selection of files.

It takes most of the time of a command that refuses its options, and hundreds of commands of the tests select the same
files. The same text of an option is parsed once, too. Options are checked and applied each time. Nothing is kept while
plugins add files.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import astuple, replace
from functools import cache
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from nas.config import CONF, FOLDERS
from nas.plugins.loading import LOADED

_list_files, _merge_files = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
_parse = OverridesParser.parse_rule
_lists: dict[Hashable, DefaultsList] = {}
_merged: dict[Hashable, DictConfig] = {}


@contextmanager
def composed_once() -> Iterator[None]:
    """Let Hydra keep what it composes from files in the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_loader_impl, "create_defaults_list", _listed)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", _composed)
        patch.setattr(OverridesParser, "parse_rule", lambda _, text, rule: copy(_parsed(text, rule)))
        yield


@cache
def _parsed(text: str, rule: str) -> Any:
    return _parse(OverridesParser.create(), text, rule)


def _listed(repo: Any, config_name: str | None, overrides_list: list[Any], **how: bool) -> DefaultsList:
    """Files of a command line: they depend on the options that select files, not on those that set values."""
    values = Overrides(repo, overrides_list).config_overrides
    selecting = [given.input_line for given in overrides_list if not any(given is value for value in values)]
    key = (_sources(repo), config_name, *selecting, *how.items())
    if not _plugins() and (kept := _lists.get(key)) is not None:
        return replace(kept, config_overrides=values)
    listed = _list_files(repo, config_name, overrides_list, **how)
    if not _plugins():
        _lists[key] = listed
    return listed


def _composed(loader: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> DictConfig:
    key = (_sources(repo), *map(astuple, defaults))
    if not _plugins() and (kept := _merged.get(key)) is not None:
        return deepcopy(kept)
    composed = _merge_files(loader, defaults, repo)
    if not _plugins():
        _merged[key] = deepcopy(composed)
    return composed


def _sources(repo: Any) -> Hashable:
    return tuple((source.provider, source.path) for source in repo.get_sources())


def _plugins() -> bool:
    return FOLDERS != [CONF] or bool(LOADED)
