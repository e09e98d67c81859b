"""The operations of a pretrained model: they share its projections, norms of queries and keys, and positions.

Softmax attention is the attention of the original, and the window is the same with a mask. Gated DeltaNet reads the
same queries, keys and values by head, and adds its gates and a norm.
"""

import math
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from nas.kernels.head_norms import head_norms
from nas.models.layers import rms_norm
from nas.models.operations.linear import Linear, LinearWeights
from nas.models.operations.operation import Branch, Heads, Projected
from nas.models.operations.pairs import Pair
from nas.models.operations.softmax import Softmax
from nas.models.operations.window import Window
from nas.models.recomputation import recomputable
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.backbone import Backbone


class PretrainedWeights(Protocol):
    """What the operations read of a mixer, `nas.models.pretrained_mixer.PretrainedMixer`."""

    architecture: Architecture

    @property
    def backbone(self) -> Backbone:
        """The structure of the pretrained model."""

    def attention_inputs(self, given: Projected, start: int | Tensor) -> Heads:
        """Return q [B, T, H, K], k and v [B, T, G, K], normalised and rotated."""


class PretrainedSoftmax(Softmax):
    """The softmax attention of a pretrained model."""

    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        """Add no parameters: the attention of the original consists of the shared projections."""

    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> Heads:
        """Return q [B, T, H, K], k and v [B, T, G, K]."""
        own = cast("PretrainedWeights", mixer)
        return scaled(own, own.attention_inputs(given, start))

    def merge(self, mixer: nn.Module, o: Tensor, gate: Tensor) -> Tensor:
        return o.flatten(-2)

    def weights(self, a: Architecture) -> int:
        return 0

    def cached_channels(self, a: Architecture) -> int:
        assert a.backbone is not None
        return 2 * a.backbone.key_value_heads * a.key_dim


class PretrainedWindow(PretrainedSoftmax, Window):
    """The softmax attention of a pretrained model over the last ``architecture.window`` tokens."""


class PretrainedLinear(Linear):
    """Gated DeltaNet on the queries, keys and values of a pretrained model.

    Each head of queries has a state. Heads that share keys and values differ in their gates.
    """

    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        super().add_parameters(mixer, a)
        mixer.linear_norm = rms_norm(a.value_dim)

    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> Heads:
        return self.of_attention(mixer, given, cast("PretrainedWeights", mixer).attention_inputs(given, start))

    def of_attention(self, mixer: nn.Module, given: Projected, inputs: Heads) -> Heads:
        """Return the same as `heads`, for the inputs of the original attention."""
        q, k, v = inputs
        times = q.shape[2] // k.shape[2]
        q, k = recomputable(l2_norm, q), recomputable(l2_norm, k)
        if times > 1:
            k, v = k.repeat_interleave(times, dim=2), v.repeat_interleave(times, dim=2)
        return self.heads_of(mixer, given._replace(v=v.flatten(-2)), q, k)

    def merge(self, mixer: nn.Module, o: Tensor, gate: Tensor) -> Tensor:
        normalised: Tensor = cast("LinearWeights", mixer).linear_norm(o)
        return normalised.flatten(-2)

    def scale_outputs(self, mixer: nn.Module, factor: Tensor) -> None:
        cast("LinearWeights", mixer).linear_norm.weight.mul_(factor)

    def weights(self, a: Architecture) -> int:
        return a.linear_heads * (2 * a.width + 3) + a.value_dim


class PretrainedPair(Pair):
    """Two branches of a pretrained model. A softmax over their scores weighs their outputs."""

    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> tuple[Heads, Heads]:
        own = cast("PretrainedWeights", mixer)
        inputs = own.attention_inputs(given, start)
        first, second = (
            branch.of_attention(mixer, given, inputs) if isinstance(branch, PretrainedLinear) else scaled(own, inputs)
            for branch in self.branches
        )
        return first, second

    def merge(self, mixer: nn.Module, o: tuple[Tensor, Tensor], scores: Tensor, gate: Tensor) -> Tensor:
        none = torch.zeros((), dtype=scores.dtype, device=scores.device)
        return self.mix(mixer, o, scores, gate, (none, none, none + 1))


def scaled(mixer: PretrainedWeights, inputs: Heads) -> Heads:
    """Return the inputs of attention for kernels that scale products of q and k by 1 / sqrt(K)."""
    q, k, v = inputs
    scale = mixer.backbone.score_scale
    return inputs if scale is None else (q * (scale * math.sqrt(q.shape[-1])), k, v)


def l2_norm(x: Tensor) -> Tensor:
    """Return [B, T, H, K] with each head divided by its length."""
    l2, _ = head_norms(x.flatten(-2), linear_heads=x.shape[2])
    return l2


OPERATIONS: dict[str, Branch] = {
    operation.name: operation for operation in (PretrainedSoftmax(), PretrainedWindow(), PretrainedLinear())
}
"""Operations of pretrained models by name."""
