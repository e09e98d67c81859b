"""The mixer of a layer of a pretrained model: the projections of the original, its norms and positions."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nas.data.documents import Documents
from nas.kernels.triton_support import operand_dtype
from nas.models.layers import ShortConvolution, rms_norm
from nas.models.mixers import Convolve, TokenMixer
from nas.models.operations import Branch
from nas.models.operations.operation import Heads, Projected
from nas.models.operations.pairs import Pair
from nas.models.operations.pretrained import PretrainedPair
from nas.models.recomputation import recomputable
from nas.models.rotary import frequencies_of, rotate_by
from nas.models.routing import first_alone
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.backbone import Backbone

BRANCH_LEAN = 3.0
"""Initial margin of the score of the first branch over the second's: it has 95 % of the output of a routed layer."""


class PretrainedMixer(TokenMixer):
    """Mixes the tokens of a layer of a pretrained model.

    All operations share the original's projections, norms of queries and keys, and rotary positions. There are no short
    convolutions and no output gate. Softmax attention is the attention of the original.

    Layers with a router start as the original: the weights of the router are 0, its bias prefers the first operation,
    and the scores of the branches prefer the first branch.
    """

    @property
    def backbone(self) -> Backbone:
        """The structure of the pretrained model."""
        assert self.architecture.backbone is not None
        return self.architecture.backbone

    def add_projections(self, a: Architecture) -> None:
        """Add the projections of q, k and v, and the norms of q and k if the original has them."""
        backbone = self.backbone
        queries, keys = a.softmax_heads * a.key_dim, backbone.key_value_heads * a.key_dim
        self.q = nn.Linear(a.width, queries, bias=backbone.qkv_bias)
        self.k = nn.Linear(a.width, keys, bias=backbone.qkv_bias)
        self.v = nn.Linear(a.width, keys, bias=backbone.qkv_bias)
        if backbone.qk_norm is not None:
            sizes = (queries, keys) if backbone.qk_norm == "layer" else (a.key_dim, a.key_dim)
            self.q_norm, self.k_norm = (rms_norm(size, backbone.norm_eps) for size in sizes)

    def add_branch_score(self, a: Architecture) -> None:
        """Add the layer whose outputs weigh the branches."""
        self.branch_score = nn.Linear(a.softmax_heads * a.key_dim, 2 * a.softmax_heads)

    def add_output(self, a: Architecture) -> None:
        """Add the output projection."""
        self.out = nn.Linear(a.softmax_heads * a.key_dim, a.width, bias=self.backbone.out_bias)

    def pair_of(self, branches: tuple[Branch, Branch]) -> Pair:
        """Return the pair of two branches."""
        return PretrainedPair(branches)

    @torch.no_grad()
    def start_as_original(self) -> None:
        """Set the weights of a new router so that the layer starts as its first operation."""
        if self.pair is not None:
            self.router.score.weight.zero_()
            self.branch_score.weight.zero_()
            lean = torch.tensor([0.5, -0.5]) * BRANCH_LEAN
            self.branch_score.bias.copy_(lean.repeat(self.architecture.softmax_heads))

    def original(self, x: Tensor, documents: Documents | None = None) -> Tensor:
        """Return the output [B, T, width] of the original layer's attention, with the present weights.

        Args:
            x: [B, T, width] input of the layer.
            documents: packed documents of x; None if each sequence is one.
        """
        return self.alone(x, self.backbone.mixers[self.index], documents)

    def alone(self, x: Tensor, operation: str, documents: Documents | None = None) -> Tensor:
        """Return the output [B, T, width] of one operation on every token, whatever the options of the layer are."""
        y, _ = self._option(x, first_alone, Layer(operation, self.options[0].chunk_size), documents)
        return y

    @property
    def convolutions(self) -> tuple[ShortConvolution, ...]:
        """No convolutions."""
        return ()

    def gate_of(self, given: Projected) -> Tensor:
        """Return an empty tensor: the original has no output gate, and the operations read none."""
        return given.x.new_empty(0)

    def projections(self, branches: Iterable[Branch]) -> list[nn.Linear]:
        """Return the layers that project x for these branches: q, k, v, and those of the branches."""
        return [self.q, self.k, self.v, *(layer for branch in branches for layer in branch.projections(self))]

    def project(
        self,
        x: Tensor,
        convolve: Convolve | None = None,
        branches: Iterable[Branch] = (),
        documents: Documents | None = None,
    ) -> Projected:
        """Return the projections of x [B, T, width]; there is nothing to convolve."""
        if x.is_cuda:
            x = x.to(operand_dtype(x))  # under autocast, cast once and not in each projection
        return Projected(x, self.q(x), self.k(x), self.v(x), documents=documents)

    def attention_inputs(self, given: Projected, start: int | Tensor) -> Heads:
        """Return the inputs of the original attention: q [B, T, H, K], k and v [B, T, G, K], normalised and rotated.

        Args:
            given: inputs of the T tokens.
            start: position of the first token, see `nas.models.operations.operation.Branch.heads`.
        """
        backbone, a = self.backbone, self.architecture
        q, k = given.q, given.k
        if backbone.qk_norm == "layer":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (x.unflatten(-1, (-1, a.key_dim)) for x in (q, k, given.v))
        if backbone.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        rope = backbone.ropes[self.index]
        frequencies = frequencies_of(rope, a.key_dim, q.device)
        q, k = recomputable(rotate_by, q, k, frequencies, start, rope.attention_factor)
        return q, k, v
