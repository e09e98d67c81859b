"""Measured shapes, and random inputs of them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from nas.config import CONF
from nas.search_spaces.architecture import Architecture, Layer

VOCAB_SIZE = 32000
MODEL = CONF / "model" / "340m.yaml"


@dataclass(frozen=True)
class Shapes:
    """Shapes of all measurements.

    Attributes:
        architecture: model whose heads, chunks and layers are measured.
        tokens: B * T of the rows over ``lengths``.
        lengths: sequence lengths T of these rows.
        length_tokens: B * T of the rows that show the cost per token.
        length_lengths: sequence lengths T of those rows; the others are compared with the first.
        prefill_tokens: T of the whole model's prefill, B = 1.
        delta_lengths: sequence lengths T of the rows of the gated delta rule alone, with ``tokens`` or one sequence.
        delta_heads: heads of q and k of today's models; their v has as many, or ``grouped_heads``.
        delta_dim: channels of a key and of a value there.
        grouped_heads: heads of v in the rows of grouped heads.
        documents: number of documents that are packed into ``tokens``.
        contexts: tokens before the decoded ones.
        decode_batches: sequences that are decoded at once.
        window: tokens that a query sees in sliding-window attention.
        dtype: dtype of all tensors but gates, routes and autocast's parameters.
        copy_bytes: bytes of the copy that measures the bandwidth.
        matrix_size: side of the square matrices whose product measures the FLOP rate.
    """

    architecture: Architecture
    tokens: int = 32768
    lengths: tuple[int, ...] = (2048, 8192, 32768)
    length_tokens: int = 131072
    length_lengths: tuple[int, ...] = (2048, 8192, 32768, 131072)
    prefill_tokens: int = 131072
    delta_lengths: tuple[int, ...] = (2048, 8192, 32768, 131072)
    delta_heads: int = 16
    delta_dim: int = 128
    grouped_heads: tuple[int, ...] = (32, 64)
    documents: int = 64
    contexts: tuple[int, ...] = (32768, 131072)
    decode_batches: tuple[int, ...] = (1, 16)
    window: int = 512
    dtype: torch.dtype = torch.bfloat16
    copy_bytes: int = 4 * 2**30
    matrix_size: int = 8192

    def batch(self, length: int) -> int:
        """Return B of a row with T = ``length``."""
        return max(1, self.tokens // length)

    def case(self, length: int) -> str:
        """Return the name of a row with T = ``length``."""
        return f"T={length} (B={self.batch(length)})"


def full(lengths: tuple[int, ...] | None = None) -> Shapes:
    """Return the shapes of the published 340M model and of today's, at these lengths or at all."""
    a = architecture_340m()
    return Shapes(a) if lengths is None else Shapes(a, lengths=lengths, delta_lengths=lengths)


def smoke() -> Shapes:
    """Return shapes that run through every path on a CPU in seconds; the times mean nothing."""
    tiny = Architecture(
        vocab_size=50, width=32, layers=(Layer("linear", 16), Layer("token_hybrid", 16)), linear_heads=2, key_dim=16,
        value_dim=32, softmax_heads=4, routing_heads=2, mlp_width=48,
    )  # fmt: skip
    return Shapes(
        tiny, tokens=64, lengths=(32, 64), length_tokens=64, length_lengths=(32, 64), prefill_tokens=64, window=16,
        delta_lengths=(32,), delta_heads=2, delta_dim=16, grouped_heads=(4,), documents=5, contexts=(32,),
        decode_batches=(1, 2), dtype=torch.float32, copy_bytes=2**20, matrix_size=256,
    )  # fmt: skip


def architecture_340m() -> Architecture:
    """Return the architecture of conf/model/340m.yaml: routers in the layers it names, the others linear."""
    given = yaml.safe_load(MODEL.read_text(encoding="utf-8"))
    routed = given["routed_layers"]
    mixers = ["token_hybrid" if i in routed else "linear" for i in range(given["layers"])]
    unused = {"defaults", "name", "layers", "routed_layers", "chunk_size"}
    sizes = {name: given[name] for name in given.keys() - unused}
    layers = tuple(Layer(mixer, given["chunk_size"]) for mixer in mixers)
    return Architecture(**sizes, layers=layers, vocab_size=VOCAB_SIZE)


@dataclass(frozen=True)
class Inputs:
    """Leaf tensors of both branches, and the gradients of their outputs.

    Attributes:
        linear: q, k [B, T, H, K] l2-normalised, v [B, T, H, V], g [B, T, H] float32, beta [B, T, H].
        softmax: q, k, v of the softmax heads, separate tensors.
        do_linear, do_softmax: gradients, of the shape of each branch's v.
    """

    linear: tuple[Tensor, ...]
    softmax: tuple[Tensor, ...]
    do_linear: Tensor
    do_softmax: Tensor


def inputs(shapes: Shapes, batch: int, length: int, device: torch.device, seed: int = 0) -> Inputs:
    """Draw random inputs as in a model: unit keys, decays near 1 and far from it, write strengths in (0, 1)."""
    a = shapes.architecture
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*sizes: int, dtype: torch.dtype = shapes.dtype) -> Tensor:
        return torch.randn(batch, length, *sizes, device=device, dtype=dtype, generator=generator)

    heads, split = a.linear_heads, a.softmax_heads // a.linear_heads
    q, k = (F.normalize(normal(heads, a.key_dim), dim=-1) for _ in range(2))
    g = F.logsigmoid(normal(heads, dtype=torch.float32) + 3)
    linear = (q, k, normal(heads, a.value_dim), g, normal(heads).sigmoid())
    sizes = [(a.softmax_heads, dim // split) for dim in (a.key_dim, a.key_dim, a.value_dim)]
    softmax = tuple(normal(*size) for size in sizes)
    for leaf in (*linear, *softmax):
        leaf.requires_grad_()
    return Inputs(linear, softmax, normal(heads, a.value_dim), normal(*sizes[2]))


def hard_routes(
    shapes: Shapes, batch: int, length: int, share: float, device: torch.device, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw random hard routes (to softmax, to linear), [B, N, R] float32, with ``share`` of each head softmax."""
    a = shapes.architecture
    chosen = chosen_chunks(batch, -(-length // a.chunk_size), a.routing_heads, share, device, seed)
    return chosen.requires_grad_(), (1 - chosen.detach()).requires_grad_()


def chosen_chunks(batch: int, chunks: int, heads: int, share: float, device: torch.device, seed: int = 0) -> Tensor:
    """Return random zeros and ones [B, N, heads] float32 with this share of ones in each head."""
    generator = torch.Generator(device).manual_seed(1000 + seed)
    order = torch.rand(batch, chunks, heads, device=device, generator=generator).argsort(1).argsort(1)
    return (order < round(share * chunks)).float()


def document_borders(tokens: int, documents: int, seed: int = 0) -> Tensor:
    """Draw the borders [documents + 1] of packed documents, int32 on the CPU, with lengths from 0.5 to 1.5 of the mean.

    The last border is ``tokens``.
    """
    lengths = 0.5 + torch.rand(documents, generator=torch.Generator().manual_seed(2000 + seed), dtype=torch.float64)
    ends = (lengths.cumsum(0) * (tokens / lengths.sum())).round()
    return torch.cat([ends.new_zeros(1), ends]).to(torch.int32)
