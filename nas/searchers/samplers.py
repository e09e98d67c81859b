"""Optuna's samplers for the choices of layers."""

import optuna
from optuna.samplers import BaseSampler

from nas.config import OptunaConfig
from nas.search_spaces.space import Space, option_name
from nas.searchers.optuna_parts import build, class_name, parameters, silence

OPTION = "searcher.sampler"


def build_sampler(settings: OptunaConfig, space: Space, seed: int) -> BaseSampler:
    """The sampler of a search; UserError where there is none of this name, or not with these options."""
    silence()
    name, options = class_name(OPTION, settings.sampler, optuna.samplers, "Sampler"), dict(settings.sampler_options)
    known = parameters(optuna.samplers, name)
    if "search_space" in known:
        options.setdefault("search_space", _parameters(space))
    if "seed" in known:
        options.setdefault("seed", seed)
    built: BaseSampler = build(OPTION, optuna.samplers, name, options)
    return built


def _parameters(space: Space) -> dict[str, list[str]]:
    """The parameters that `Space.suggest` asks for, and their values."""
    return {f"layer_{layer}": list(map(option_name, space.options[layer])) for layer in space.choosing}
