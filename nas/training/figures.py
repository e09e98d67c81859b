"""Figures of the layers of a supernet during training: probabilities of options and softmax shares."""

from statistics import fmean

from nas.relaxations import UNLEARNT
from nas.runs.history import PROBABILITY, SHARE
from nas.search_spaces.space import option_name
from nas.supernet.supernet import Supernet


def probabilities(supernet: Supernet, relaxation: str) -> dict[str, float]:
    """Return the probabilities by layer and option; empty if architecture logits do not learn."""
    if relaxation in UNLEARNT:
        return {}
    space, logits = supernet.space, supernet.architecture_logits
    return {
        f"{PROBABILITY}/layer_{layer}/{option_name(option)}": probability
        for layer in space.choosing
        for option, probability in zip(space.options[layer], logits.probabilities(layer).tolist(), strict=True)
    }


def shares(supernet: Supernet) -> dict[str, float]:
    """Return the running softmax share of each routed layer, over its options with a router; empty if none routes."""
    if not supernet.by_logits:
        return {}
    space, running = supernet.space, supernet.architecture_logits.shares.tolist()
    return {
        f"{SHARE}/layer_{layer}": fmean(
            share for option, share in zip(space.options[layer], running[layer], strict=False) if option.routed
        )
        for layer in space.routed
    }
