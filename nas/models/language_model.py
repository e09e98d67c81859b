"""The language model: an embedding, blocks of a mixer and a gated MLP with RMSNorms, and a head."""

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nas.data.documents import Documents
from nas.distributed.context.group import Context
from nas.kernels.arguments import RouteGrad
from nas.models.layers import NORM_EPS, NoNorm, RMSNorm, ScaledEmbedding, SwiGLU, rms_norm
from nas.models.mixers import TokenMixer
from nas.models.operations import Operation, in_order, operation_of
from nas.models.policies import policy_of
from nas.models.pretrained_mixer import PretrainedMixer
from nas.models.recomputation import without_recomputing
from nas.models.router import Router
from nas.models.routing import FIRST_OPTION, LayerChoice, Policy, Routing
from nas.search_spaces.architecture import Architecture, Layer

INITIAL_STD = 0.02
"""Standard deviation of initial weight matrices."""


class Output(NamedTuple):
    """Result of a forward pass.

    Attributes:
        logits: [B, T, vocab], or [n, vocab] if n positions are given.
        routing: routings of each routed layer, by layer index; one routing for each chunk size.
    """

    logits: Tensor
    routing: dict[int, list[Routing]]


class Stream(NamedTuple):
    """The residual stream between two layers. Its latest summand is not added yet: the next norm adds it.

    Attributes:
        x: [B, T, width].
        delta: [B, T, width], output of the latest layer; None before the first layer.
        documents: packed documents, which are one sequence, B = 1; None if each sequence is one.
    """

    x: Tensor
    delta: Tensor | None = None
    documents: Documents | None = None

    @property
    def total(self) -> Tensor:
        """The sum, [B, T, width]."""
        return self.x if self.delta is None else self.x + self.delta

    def at(self, places: Tensor) -> "Stream":
        """Return the stream [n, width] at these positions of the flattened tokens."""
        x, delta = (None if part is None else part.flatten(0, 1).index_select(0, places) for part in self[:2])
        assert x is not None
        return Stream(x, delta)


class OriginalLayer(NamedTuple):
    """What a layer of a pretrained model computes.

    Attributes:
        stream: the residual stream after the layer.
        given: [B, T, width], input of the mixer.
        mixed: [B, T, width], output of the mixer.
    """

    stream: Stream
    given: Tensor
    mixed: Tensor


RunBlock = Callable[[int, nn.Module, Stream, Policy, LayerChoice], tuple[Stream, list[Routing]]]
"""Maps (layer index, block, residual stream, policy, layer choice) to what the block returns."""


def run_block(
    layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice
) -> tuple[Stream, list[Routing]]:
    """Call a block."""
    made: tuple[Stream, list[Routing]] = block(stream, policy, choice)
    return made


def recompute_block(
    layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice, run: RunBlock = run_block
) -> tuple[Stream, list[Routing]]:
    """Call a block, and compute it again in the backward pass instead of keeping its activations (Chen et al. 2016).

    The second pass draws the same random numbers from PyTorch's default generators. ``run`` says how the block is
    called.
    """
    kept = Stream(stream.total, documents=stream.documents)  # one tensor and not two
    made: tuple[Stream, list[Routing]] = checkpoint(
        run, layer, block, kept, policy, choice,
        use_reentrant=False, context_fn=lambda: (without_recomputing(), without_recomputing()),
    )  # fmt: skip
    return made


class Block(nn.Module):
    """Mixer and gated MLP, each behind an RMSNorm and around a residual connection.

    Blocks of pretrained models may have RMSNorms after the mixer and the MLP, instead of those before or beside them.
    """

    def __init__(
        self, architecture: Architecture, index: int, route_grad: RouteGrad, options: tuple[Layer, ...]
    ) -> None:
        super().__init__()
        backbone = architecture.backbone
        norms = "pre" if backbone is None else backbone.norms
        mixer = TokenMixer if backbone is None else PretrainedMixer
        self.mixer_norm = _norm(architecture) if norms != "post" else NoNorm()
        self.mixer = mixer(architecture, index, route_grad, options)
        self.mixer_post_norm = _norm(architecture) if norms != "pre" else nn.Identity()
        self.mlp_norm = _norm(architecture) if norms != "post" else NoNorm()
        self._hidden = [option.mlp_width or architecture.mlp_width for option in self.mixer.options]
        self.mlp = SwiGLU(architecture.width, max(self._hidden), "silu" if backbone is None else backbone.activation)
        self.mlp_post_norm = _norm(architecture) if norms != "pre" else nn.Identity()

    def forward(
        self, stream: Stream, policy: Policy | None, choice: LayerChoice = FIRST_OPTION
    ) -> tuple[Stream, list[Routing]]:
        """Return the residual stream after the block, and the routings of the layer."""
        x, given = self.mixer_norm.after(stream.x, stream.delta)
        mixed, routings = self.mixer(given, policy, choice, stream.documents)
        x, given = self.mlp_norm.after(x, self.mixer_post_norm(mixed))
        return Stream(x, self.mlp_post_norm(self._feed_forward(given, choice)), stream.documents), routings

    def original(self, stream: Stream) -> "OriginalLayer":
        """Compute the layer of the pretrained model, whatever the options of the block, with the present weights."""
        assert isinstance(self.mixer, PretrainedMixer)
        x, given = self.mixer_norm.after(stream.x, stream.delta)
        mixed = self.mixer.original(given, stream.documents)
        x, hidden = self.mlp_norm.after(x, self.mixer_post_norm(mixed))
        fed = self.mlp_post_norm(self.mlp(hidden, self.mixer.architecture.mlp_width))
        return OriginalLayer(Stream(x, fed, stream.documents), given, mixed)

    def _feed_forward(self, x: Tensor, choice: LayerChoice) -> Tensor:
        """Apply the SwiGLU in the hidden size of an option. A mixture weighs a channel by the options that have it."""
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
        """Copy the SwiGLU weights of this block's hidden size from a block with several hidden sizes."""
        with torch.no_grad():
            gate_and_up, down = of.mlp.narrowed(self.mlp.down.in_features)
            self.mlp.gate_and_up.weight.copy_(gate_and_up)
            self.mlp.down.weight.copy_(down)


class LanguageModel(nn.Module):
    """A decoder-only language model of one architecture, or a supernet of all architectures of a space.

    In a supernet, the options of a layer share weights. Parameters have the same names and shapes as in a model of a
    single architecture. The weights of a single architecture are therefore a subset of the supernet's weights.

    Args:
        architecture: sizes of the model, and the mixer of each layer.
        route_grad: chunks whose routes get a gradient, "full" or "selected"; see
            `nas.kernels.chunk_softmax_attention`.
        options: options of each layer; the layers of the architecture by default.
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
        self.embedding = _embedding(architecture)
        self.blocks = nn.ModuleList(
            Block(architecture, index, route_grad, own) for index, own in enumerate(self.options)
        )
        self.norm = _norm(architecture)
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
        run: RunBlock = run_block,
        documents: Documents | None = None,
    ) -> Output:
        """Return next-token logits and routings.

        Packed documents do not depend on each other: the result is that of a call for each of them. The routings then
        have the chunks of all documents in order, [1, N, R, 2].

        Args:
            tokens: [B, T] token ids.
            policy: how router logits become routes; None for the policy of the model, see `policy`.
            places: [n] int64, positions in the flattened tokens at which to compute logits; None for all.
            layer_choices: options that each layer computes; the first option by default.
            run: how blocks are called, for example as CUDA graphs.
            documents: packed documents of the tokens, on their device; None if each sequence is one document.

        Raises:
            ValueError: there are packed documents, and an operation does not support them.
        """
        policy = self.policy if policy is None else policy
        stream, routing = self._stream(tokens, policy, layer_choices, run, documents)
        logits = self._read(stream, places)
        return Output(logits if places is not None else logits.view(*tokens.shape, -1), routing)

    def hidden(
        self,
        tokens: Tensor,
        policy: Policy,
        layer_choices: Sequence[LayerChoice] | None = None,
        run: RunBlock = run_block,
        documents: Documents | None = None,
    ) -> tuple[Tensor, dict[int, list[Routing]]]:
        """Return the output [B, T, width] of the last block, and the routings; see `forward` for the arguments."""
        stream, routing = self._stream(tokens, policy, layer_choices, run, documents)
        return stream.total.view(*tokens.shape, -1), routing

    def _stream(
        self,
        tokens: Tensor,
        policy: Policy,
        layer_choices: Sequence[LayerChoice] | None,
        run: RunBlock,
        documents: Documents | None,
    ) -> tuple[Stream, dict[int, list[Routing]]]:
        if documents is not None:
            self.check_packing()
            tokens = tokens.reshape(1, -1)
        stream = Stream(self.embedding(tokens), documents=documents)
        routing: dict[int, list[Routing]] = {}
        for index, (block, choice) in enumerate(
            zip(self.blocks, layer_choices or repeat(FIRST_OPTION, len(self.blocks)), strict=True)
        ):
            stream, decided = run(index, block, stream, policy, choice)
            if decided:
                routing[index] = decided
        return stream, routing

    def read(self, hidden: Tensor, places: Tensor | None = None) -> Tensor:
        """Return next-token logits for the output [..., width] of the last block; see `forward` for ``places``."""
        return self._read(Stream(hidden), places)

    def _read(self, stream: Stream, places: Tensor | None) -> Tensor:
        if places is not None and not len(places):  # kernels need at least one token
            return self._read(stream, places.new_zeros(1))[:0]
        read = stream if places is None else stream.at(places)
        _, hidden = self.norm.after(read.x, read.delta)
        logits: Tensor = self.head(hidden)
        return logits

    @property
    def policy(self) -> Policy:
        """The policy of the model: the decisions of its routers, or the routing that its architecture fixes."""
        return policy_of(self.architecture)

    @property
    def capturable(self) -> bool:
        """Whether a training step can be captured in a CUDA graph: every operation of every option can be."""
        return all(operation.capturable for operation in self._operations)

    @property
    def _operations(self) -> list[Operation]:
        """The operations of every option."""
        names = in_order({name for options in self.options for layer in options for name in layer.operations})
        return [operation_of(operation.name, self.architecture) for operation in names]

    @property
    def packs(self) -> bool:
        """Whether every operation of every option supports packed documents."""
        return all(operation.packs for operation in self._operations)

    def check_packing(self) -> None:
        """Raise ValueError if an operation of an option does not support packed documents."""
        if not self.packs:
            names = ", ".join(operation.name for operation in self._operations if not operation.packs)
            raise ValueError(
                f"data.documents=packed keeps documents apart, which the operation {names} does not support; give "
                "data.documents=joined, or layers of other operations."
            )

    def share(self, context: Context | None) -> None:
        """Let several processes share each sequence from here on; with None each process computes whole sequences.

        Tokens are then the stretch of this process, which has whole chunks, and so are places, logits and routings.
        """
        for block in self.blocks:
            cast("Block", block).mixer.context = context

    @property
    def context(self) -> Context | None:
        """The processes that share each sequence; None if this process computes whole sequences."""
        return cast("Block", self.blocks[0]).mixer.context

    def inherit(self, architecture: Architecture) -> "LanguageModel":
        """Return a model of one architecture of the space with its share of the weights of this supernet."""
        child = LanguageModel(architecture, self.route_grad).to(self.embedding.weight)
        own, weights = child.state_dict(), self.state_dict()
        same = {name: weights[name] for name, weight in own.items() if weights[name].shape == weight.shape}
        child.load_state_dict(same, strict=False)
        for block, of in zip(child.blocks, self.blocks, strict=True):
            cast("Block", block).narrow(cast("Block", of))
        return child.train(self.training)


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters. Shared parameters count once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _norm(a: Architecture) -> RMSNorm:
    return rms_norm(a.width, NORM_EPS if a.backbone is None else a.backbone.norm_eps)


def _embedding(a: Architecture) -> nn.Embedding:
    if a.backbone is None or a.backbone.embedding_scale == 1:
        return nn.Embedding(a.vocab_size, a.width)
    return ScaledEmbedding(a.vocab_size, a.width, a.backbone.embedding_scale)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, Router):
        module.reset_bias()
    if isinstance(module, PretrainedMixer):
        module.start_as_original()
