"""What operations have to learn from the layers of a pretrained model, and how far they are from them.

The original runs once, without gradients. In each layer every other operation gets the input of the original attention,
and its error is the squared difference from the output of that attention. Errors depend on the parameters of their own
layer alone, so all layers learn at the same time, and nothing is differentiated across layers.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from nas.data.documents import Documents
from nas.models.language_model import Block, LanguageModel, Stream
from nas.models.operations import operation_of
from nas.models.policies import randomly
from nas.models.routing import LayerChoice, Policy, Routing
from nas.pretrained.weights import stored_names
from nas.search_spaces.space import option_name
from nas.training.updates.optimizer import router_parameters

Errors = dict[tuple[int, str], Tensor]
"""Relative squared error by layer and name of the option."""
ROUTED_SHARE = 0.5
"""Share of chunks that a routed layer sends to softmax attention, at random: routers decide nothing yet."""


def options_to_align(model: LanguageModel) -> list[dict[str, int]]:
    """Return the options of each layer that have parameters to learn, by name, as indices among its options.

    The original operation has none, and no other attention either, such as the one over a window.
    """
    a, backbone = model.architecture, model.architecture.backbone
    assert backbone is not None
    found: list[dict[str, int]] = []
    for options in model.options:
        own: dict[str, int] = {}
        for index, option in enumerate(options):
            if any(operation_of(name, a).weights(a) for name in option.operations):
                own.setdefault(option_name(option._replace(mlp_width=None)), index)
        found.append(own)
    return found


def added_parameters(model: LanguageModel) -> dict[str, Parameter]:
    """Return the parameters, by name, that operations add to the pretrained model: all but its own and the routers'."""
    stored, routers = stored_names(model.architecture), {id(p) for p in router_parameters(model)}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name not in stored and id(parameter) not in routers
    }


def alignment_errors(
    model: LanguageModel, options: list[dict[str, int]], tokens: Tensor, documents: Documents | None = None
) -> Errors:
    """Return the error of each option of each layer on a batch: 0 for the output of the original, 1 for an output of 0.

    Args:
        model: model with the weights of the pretrained one.
        options: options of each layer, see `options_to_align`.
        tokens: [B, T] token ids.
        documents: packed documents of the tokens; None if each sequence is one.
    """
    found: Errors = {}

    def run(
        layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice
    ) -> tuple[Stream, list[Routing]]:
        own = cast("Block", block)
        with torch.no_grad():
            original = own.original(stream)
        for name, index in options[layer].items():
            y, _ = own.mixer(original.given, policy, LayerChoice(index), stream.documents)
            found[layer, name] = relative_error(y, original.mixed)
        return original.stream, []

    model.hidden(tokens, randomly(ROUTED_SHARE), run=run, documents=documents)
    return found


def relative_error(y: Tensor, target: Tensor) -> Tensor:
    """Return the squared error relative to the square of the target, in float32."""
    y, target = y.float(), target.float()
    return (y - target).square().sum() / target.square().sum().clamp(min=torch.finfo(torch.float32).tiny)
