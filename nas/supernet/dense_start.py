"""The dense start of a hand-designed hybrid: layers that are softmax attention until the architecture takes over.

Searched layers start as softmax attention. A hand-designed hybrid with a dense start trains the same way: in the dense
phase the layers in which a search would have routers are softmax attention, whatever their mixer is. Both operations
share the projections of the layer.
"""

from collections.abc import Collection

from nas.budget.checks import CHEAPEST
from nas.config import TrainConfig
from nas.errors import UserError
from nas.models.operations import dense_share
from nas.models.operations.softmax import Softmax
from nas.models.routing import LayerChoice
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.layers import routed_layers


def dense_layers(config: TrainConfig, architecture: Architecture) -> tuple[int, ...]:
    """Return the layers that differ from the architecture in the dense phase; none without `dense_start`.

    They are the layers of ``model.routed_layers`` that do not keep every chunk by themselves.

    Raises:
        UserError: the dense phase would be another one, or would never end.
    """
    if not config.dense_start:
        return ()
    budget = config.budget
    if budget.start == CHEAPEST:
        raise UserError(f"dense_start=true starts with softmax, but budget.start={budget.start}; give most_expensive.")
    if budget.dense_until >= 1:
        raise UserError(
            f"dense_start=true with budget.dense_until={budget.dense_until:g} may never train the architecture; give "
            "a number below 1."
        )
    layers = architecture.layers
    return tuple(
        index for index in routed_layers(config.model) if index < len(layers) and not dense_share(layers[index])
    )


def with_softmax(options: tuple[tuple[Layer, ...], ...], layers: Collection[int]) -> tuple[tuple[Layer, ...], ...]:
    """Return the options of a model in which these layers, each with one option, have softmax as a second one."""
    return tuple(
        (*own, own[0]._replace(mixer=Softmax.name)) if index in layers else own for index, own in enumerate(options)
    )


def as_softmax(choices: list[LayerChoice], layers: Collection[int]) -> list[LayerChoice]:
    """Return the layer choices with the second option, softmax, in these layers."""
    return [LayerChoice(1) if index in layers else choice for index, choice in enumerate(choices)]
