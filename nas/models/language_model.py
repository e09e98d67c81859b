"""The language model: embedding, blocks of mixer and SwiGLU with pre-norm, head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.architecture import Architecture, Mixer
from nas.models.layers import SwiGLU, rms_norm
from nas.models.mixers import Choose, Routing, TokenMixer

INITIAL_STD = 0.02


class Output(NamedTuple):
    """What a forward pass gives: logits [B, T, vocab] (or [n, vocab] at ``positions``), and each routed layer's routing."""

    logits: Tensor
    routing: dict[int, Routing]


class Block(nn.Module):
    def __init__(self, architecture: Architecture, kind: Mixer, route_grad: str) -> None:
        super().__init__()
        self.mixer_norm = rms_norm(architecture.width)
        self.mixer = TokenMixer(architecture, kind, route_grad)
        self.mlp_norm = rms_norm(architecture.width)
        self.mlp = SwiGLU(architecture.width, architecture.mlp_width)

    def forward(self, x: Tensor, choose: Choose) -> tuple[Tensor, Routing | None]:
        mixed, routing = self.mixer(self.mixer_norm(x), choose)
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x)), routing


class LanguageModel(nn.Module):
    def __init__(self, architecture: Architecture, route_grad: str = "full") -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.width)
        self.blocks = nn.ModuleList(Block(architecture, kind, route_grad) for kind in architecture.mixers)
        self.norm = rms_norm(architecture.width)
        self.head = nn.Linear(architecture.width, architecture.vocab_size, bias=False)
        self.apply(_initialise)
        if architecture.tie_embeddings:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, choose=None, positions: Tensor | None = None) -> Output:
        x = self.embedding(tokens)
        routing: dict[int, Routing] = {}
        for index, block in enumerate(self.blocks):
            x, decided = block(x, (lambda l: choose(l, index)))
            if decided is not None:
                routing[index] = decided
        if positions is not None:
            x = x[positions]
        return Output(self.head(self.norm(x)), routing)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if hasattr(module, "reset_bias"):
        module.reset_bias()
