"""The scale with which new operations begin: that of the original attention's outputs.

The output norm of a new operation begins with the size of values that the weights alone lead to expect
(`nas.pretrained.weights`). Where few channels of a layer's inputs are large, as in Gemma, outputs are tens of times too
large. An optimiser that moves each weight by its learning rate takes long to make up for that.
"""

from typing import cast

import torch
from torch import Tensor, nn

from nas.data.documents import Documents
from nas.models.language_model import Block, LanguageModel, Stream
from nas.models.operations import Branch
from nas.models.pretrained_mixer import PretrainedMixer
from nas.models.routing import LayerChoice, Policy, Routing, first_alone


@torch.no_grad()
def match_scales(model: LanguageModel, tokens: Tensor, documents: Documents | None = None) -> None:
    """Scale the outputs of new operations to the root mean square of the original attention's, layer by layer.

    Args:
        model: model with the weights of the pretrained one.
        tokens: [B, T] token ids on which the scales are measured.
        documents: packed documents of the tokens; None if each sequence is one.
    """

    def run(
        layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice
    ) -> tuple[Stream, list[Routing]]:
        own = cast("Block", block)
        original, mixer = own.original(stream), cast("PretrainedMixer", own.mixer)
        for operation in mixer.in_order({name for option in mixer.options for name in option.operations}):
            if isinstance(operation, Branch) and operation.weights(mixer.architecture):
                y = mixer.alone(original.given, operation.name, stream.documents)
                operation.scale_outputs(mixer, _ratio(original.mixed, y, mixer.out.bias))
        return original.stream, []

    model.hidden(tokens, first_alone, run=run, documents=documents)


def _ratio(target: Tensor, y: Tensor, bias: Tensor | None) -> Tensor:
    """Return the root mean square of one output over that of another, both without the bias; 1 if one is 0."""
    sizes = [(x if bias is None else x - bias).float().square().mean().sqrt() for x in (target, y)]
    ratio = sizes[0] / sizes[1]
    return torch.where((ratio > 0) & ratio.isfinite(), ratio, torch.ones_like(ratio))
