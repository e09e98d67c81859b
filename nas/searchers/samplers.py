"""Optuna's samplers over the options of layers."""

import optuna
from optuna.samplers import BaseSampler

from nas.config import OptunaConfig
from nas.search_spaces.space import Space, option_name
from nas.searchers.optuna_parts import build, class_name, parameters, silence

OPTION = "searcher.sampler"


def build_sampler(settings: OptunaConfig, space: Space, seed: int) -> BaseSampler:
    """Return the sampler of a search; raise a UserError if its name is unknown or it does not take its options."""
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
    """Return the parameters of `Space.suggest` and the values of each."""
    return {f"layer_{layer}": list(map(option_name, space.options[layer])) for layer in space.choosing}
