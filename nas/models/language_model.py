"""The language model: embedding, blocks of mixer and SwiGLU behind RMSNorms, head."""

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from nas.kernels.arguments import RouteGrad
from nas.models.layers import SwiGLU, rms_norm
from nas.models.mixers import FIRST_OPTION, LayerChoice, Policy, Routing, TokenMixer
from nas.models.operations import in_order
from nas.models.policies import policy_of
from nas.models.router import Router
from nas.search_spaces.architecture import Architecture, Layer

INITIAL_STD = 0.02
"""Standard deviation of every weight matrix at the start."""


class Output(NamedTuple):
    """What a forward pass gives.

    Attributes:
        logits: [B, T, vocab], or [n, vocab] of the n positions that were asked for.
        routing: what the routers of each routed layer decided, by layer index: one chunk size each.
    """

    logits: Tensor
    routing: dict[int, list[Routing]]


class Block(nn.Module):
    """Mixer and SwiGLU, each behind an RMSNorm and around a residual connection."""

    def __init__(
        self, architecture: Architecture, index: int, route_grad: RouteGrad, options: tuple[Layer, ...]
    ) -> None:
        super().__init__()
        self.mixer_norm = rms_norm(architecture.width)
        self.mixer = TokenMixer(architecture, index, route_grad, options)
        self.mlp_norm = rms_norm(architecture.width)
        self._hidden = [option.mlp_width or architecture.mlp_width for option in self.mixer.options]
        self.mlp = SwiGLU(architecture.width, max(self._hidden))

    def forward(
        self, x: Tensor, policy: Policy | None, choice: LayerChoice = FIRST_OPTION
    ) -> tuple[Tensor, list[Routing]]:
        """x [B, T, width] to [B, T, width], and what routers decided."""
        mixed, routings = self.mixer(self.mixer_norm(x), policy, choice)
        x = x + mixed
        return x + self._feed_forward(self.mlp_norm(x), choice), routings

    def _feed_forward(self, x: Tensor, choice: LayerChoice) -> Tensor:
        """The SwiGLU in the hidden size of an option; in a mixture each hidden channel counts as its options weigh."""
        if choice.option is not None:
            return self.mlp(x, self._hidden[choice.option])
        computed = range(len(self._hidden)) if choice.among is None else choice.among
        hidden = [self._hidden[index] for index in computed]
        if min(hidden) == self.mlp.down.in_features:
            return self.mlp(x)
        assert choice.weights is not None
        channels = torch.arange(self.mlp.down.in_features, device=x.device)
        used = torch.stack([channels < size for size in hidden]).to(choice.weights)
        return self.mlp(x, shares=choice.weights @ used)

    def narrow(self, of: "Block") -> None:
        """Take the weights of the SwiGLU of a block that serves several hidden sizes, this block's among them."""
        with torch.no_grad():
            gate_and_up, down = of.mlp.narrowed(self.mlp.down.in_features)
            self.mlp.gate_and_up.weight.copy_(gate_and_up)
            self.mlp.down.weight.copy_(down)


class LanguageModel(nn.Module):
    """A decoder-only language model of the given architecture, or of all architectures of a space.

    In a model of a space the weights of a layer serve each of its options. Its parameters have the names and shapes
    that they have in a model of any one architecture of the space, so that the weights of that are some of them.

    Args:
        architecture: sizes, and the mixer of each layer.
        route_grad: which chunks' routes get a gradient; see `nas.kernels.chunk_softmax_attention`.
        options: what each layer can be; that of the architecture alone by default.
    """

    def __init__(
        self,
        architecture: Architecture,
        route_grad: RouteGrad = "full",
        options: tuple[tuple[Layer, ...], ...] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.route_grad = route_grad
        self.options = options or tuple((layer,) for layer in architecture.layers)
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.width)
        self.blocks = nn.ModuleList(
            Block(architecture, index, route_grad, own) for index, own in enumerate(self.options)
        )
        self.norm = rms_norm(architecture.width)
        self.head = nn.Linear(architecture.width, architecture.vocab_size, bias=False)
        self.apply(_initialise)
        if architecture.tie_embeddings:
            self.head.weight = self.embedding.weight

    def forward(
        self,
        tokens: Tensor,
        policy: Policy | None = None,
        places: Tensor | None = None,
        layer_choices: Sequence[LayerChoice] | None = None,
    ) -> Output:
        """Next-token logits.

        Args:
            tokens: [B, T] token ids.
            policy: how router logits become routes; None for the model's own, see `policy`.
            places: [n] int64, positions in the flattened tokens where logits are wanted; None for everywhere.
            layer_choices: what each layer is; the first of its options by default.
        """
        policy = self.policy if policy is None else policy
        x = self.embedding(tokens)
        routing: dict[int, list[Routing]] = {}
        for index, (block, choice) in enumerate(
            zip(self.blocks, layer_choices or repeat(FIRST_OPTION, len(self.blocks)), strict=True)
        ):
            x, decided = block(x, policy, choice)
            if decided:
                routing[index] = decided
        if places is not None:
            x = x.flatten(0, 1).index_select(0, places)
        return Output(self.head(self.norm(x)), routing)

    @property
    def policy(self) -> Policy:
        """How the model routes chunks by itself: as its routers say, or as its architecture gives the routing."""
        return policy_of(self.architecture)

    @property
    def capturable(self) -> bool:
        """Whether a training step can be captured in a CUDA graph: every operation of every option can be."""
        names = {name for options in self.options for layer in options for name in layer.operations}
        return all(operation.capturable for operation in in_order(names))

    def inherit(self, architecture: Architecture) -> "LanguageModel":
        """A model of one architecture of the space, with the weights that it has in this one."""
        child = LanguageModel(architecture, self.route_grad).to(self.embedding.weight)
        own, weights = child.state_dict(), self.state_dict()
        same = {name: weights[name] for name, weight in own.items() if weights[name].shape == weight.shape}
        child.load_state_dict(same, strict=False)
        for block, of in zip(child.blocks, self.blocks, strict=True):
            cast("Block", block).narrow(cast("Block", of))
        return child.train(self.training)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, Router):
        module.reset_bias()
