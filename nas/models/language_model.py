"""The language model: embedding, blocks of mixer and SwiGLU behind RMSNorms, head."""

from typing import NamedTuple

from torch import Tensor, nn

from kernels.arguments import RouteGrad
from nas.architecture import Architecture
from nas.models.layers import SwiGLU, rms_norm
from nas.models.mixers import Policy, Routing, TokenMixer
from nas.models.router import Router

INITIAL_STD = 0.02
"""Standard deviation of every weight matrix at the start."""


class Output(NamedTuple):
    """What a forward pass gives.

    Attributes:
        logits: [B, T, vocab], or [n, vocab] of the n positions that were asked for.
        routing: what each routed layer decided, by layer index.
    """

    logits: Tensor
    routing: dict[int, Routing]


class Block(nn.Module):
    """Mixer and SwiGLU, each behind an RMSNorm and around a residual connection."""

    def __init__(self, architecture: Architecture, index: int, route_grad: RouteGrad) -> None:
        super().__init__()
        self.mixer_norm = rms_norm(architecture.width)
        self.mixer = TokenMixer(architecture, index, route_grad)
        self.mlp_norm = rms_norm(architecture.width)
        self.mlp = SwiGLU(architecture.width, architecture.mlp_width)

    def forward(self, x: Tensor, policy: Policy | None) -> tuple[Tensor, Routing | None]:
        """x [B, T, width] to [B, T, width], and the routing if there is a router."""
        mixed, routing = self.mixer(self.mixer_norm(x), policy)
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x)), routing


class LanguageModel(nn.Module):
    """A decoder-only language model of the given architecture.

    Args:
        architecture: sizes, and the mixer of each layer.
        route_grad: which chunks' routes get a gradient; see `kernels.chunk_softmax_attention`.
    """

    def __init__(self, architecture: Architecture, route_grad: RouteGrad = "full") -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.width)
        self.blocks = nn.ModuleList(Block(architecture, index, route_grad) for index in range(len(architecture.mixers)))
        self.norm = rms_norm(architecture.width)
        self.head = nn.Linear(architecture.width, architecture.vocab_size, bias=False)
        self.apply(_initialise)
        if architecture.tie_embeddings:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, policy: Policy | None, places: Tensor | None = None) -> Output:
        """Next-token logits.

        Args:
            tokens: [B, T] token ids.
            policy: how router logits become routes; None for softmax attention alone in layers that have a router.
            places: [n] int64, positions in the flattened tokens where logits are wanted; None for everywhere.
        """
        x = self.embedding(tokens)
        routing: dict[int, Routing] = {}
        for index, block in enumerate(self.blocks):
            x, decided = block(x, policy)
            if decided is not None:
                routing[index] = decided
        if places is not None:
            x = x.flatten(0, 1).index_select(0, places)
        return Output(self.head(self.norm(x)), routing)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, Router):
        module.reset_bias()
