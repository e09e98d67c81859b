"""Lower bounds on the time of an operation on a machine: operations and bytes counted from its definition.

Counted are matrix products, with a multiply and an add as two operations. Exponentials, norms and gates are left out,
so the bound stays a lower bound. Bytes are those of each input read once and each output written once, per pass.
Tensors passed from the forward to the backward pass are not counted, except the output and the log-sum-exp of softmax
attention, which its backward pass takes by definition. A pass takes at least max(operations / rate, bytes / bandwidth),
and the backward pass follows the forward pass.

The two ceilings are measured in the same process: a large device-to-device copy, counting bytes read and written, and a
large product of random matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch

from experiments.kernel_speed.inputs import Shapes
from experiments.kernel_speed.timing import Clock, interleaved
from nas.models.operations.linear import Linear
from nas.models.operations.softmax import Softmax
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.operations import operations_of

FLOAT32 = 4


@dataclass(frozen=True)
class Work:
    """Work of one pass: floating-point operations and bytes moved."""

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Self) -> "Work":
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Work":
        return Work(times * self.flops, times * self.bytes)


@dataclass(frozen=True)
class Ceilings:
    """Measured peak rates of the machine: floating-point operations per second and bytes per second."""

    flops: float
    bytes: float

    def floor_ms(self, *passes: Work) -> float:
        """Return the least milliseconds of these passes, run one after the other."""
        return 1e3 * sum(max(work.flops / self.flops, work.bytes / self.bytes) for work in passes)


@dataclass(frozen=True)
class Size:
    """Sizes of one operation: B, T, H, K, V, tokens in a chunk, bytes of an element; heads of v that share q and k."""

    batch: int
    length: int
    heads: int
    key_dim: int
    value_dim: int
    chunk_size: int
    element: int = 2
    group: int = 1

    @property
    def heads_tokens(self) -> int:
        """Return B * T * H."""
        return self.batch * self.length * self.heads

    @classmethod
    def linear(cls, shapes: Shapes, batch: int, length: int) -> Self:
        """Return the sizes of the linear branch."""
        a = shapes.architecture
        return cls(batch, length, a.linear_heads, a.key_dim, a.value_dim, a.chunk_size, shapes.dtype.itemsize)

    @classmethod
    def softmax(cls, shapes: Shapes, batch: int, length: int) -> Self:
        """Return the sizes of the softmax branch."""
        a = shapes.architecture
        split = a.softmax_heads // a.linear_heads
        dims = a.key_dim // split, a.value_dim // split
        return cls(batch, length, a.softmax_heads, *dims, a.chunk_size, shapes.dtype.itemsize)


def attended_pairs(length: int, chunk_size: int, share: float) -> float:
    """Count one head's pairs of query and key: all causal ones in the own chunk, ``share`` of those in earlier chunks.

    With share 1 there are T (T + 1) / 2.
    """
    whole, rest = divmod(length, chunk_size)
    own = whole * chunk_size * (chunk_size + 1) / 2 + rest * (rest + 1) / 2
    return own + share * (length * (length + 1) / 2 - own)


def softmax_forward(size: Size, share: float = 1.0) -> Work:
    """Return the work of softmax attention with ``share`` of the chunks routed to it.

    A pair costs 2 K (score) + 2 V (output). Read: q, k, v; written: o, and the log-sum-exp in float32.
    """
    pairs = size.batch * size.heads * attended_pairs(size.length, size.chunk_size, share)
    elements = 2 * size.key_dim + 2 * size.value_dim
    return Work(2 * pairs * (size.key_dim + size.value_dim), size.heads_tokens * (elements * size.element + FLOAT32))


def softmax_backward(size: Size, share: float = 1.0) -> Work:
    """Return the work of softmax attention's gradients, with probabilities recomputed from the log-sum-exp.

    A pair costs 2 K each for the score, dq and dk, and 2 V each for dp and dv. Read: q, k, v, o, do and the
    log-sum-exp; written: dq, dk, dv. The route's gradient uses the same products.
    """
    pairs = size.batch * size.heads * attended_pairs(size.length, size.chunk_size, share)
    elements = 4 * size.key_dim + 4 * size.value_dim
    flops = 2 * pairs * (3 * size.key_dim + 2 * size.value_dim)
    return Work(flops, size.heads_tokens * (elements * size.element + FLOAT32))


def _chunk_products(size: Size) -> tuple[float, float, float, float]:
    """Return the number of chunks of all heads and the costs 2 C K V, 2 P K and 2 P V, with P = C (C + 1) / 2.

    Heads that share q and k share the products 2 P K: forward k k^T and q k^T, backward those of the sums over heads.
    """
    chunks = size.heads_tokens / size.chunk_size
    pairs = size.chunk_size * (size.chunk_size + 1) / 2
    state = 2.0 * size.chunk_size * size.key_dim * size.value_dim
    return chunks, state, 2 * pairs * size.key_dim / size.group, 2 * pairs * size.value_dim


def delta_forward(size: Size, share: float = 1.0) -> Work:
    """Return the work of the chunk-parallel gated delta rule, with ``share`` of the chunks routed to it.

    Per chunk of C tokens and head:

    - products with the state, 2 C K V each: k S, q S, and, in routed chunks only, the write k^T x;
    - inside the chunk, over its P = C (C + 1) / 2 causal pairs: k k^T and q k^T (2 P K each), the triangular solve for
      x and attention times x (2 P V each).

    The chunked form needs these products at this chunk size. Read: q, k, v, g (float32), beta; written: o.
    """
    chunks, state, keys, values = _chunk_products(size)
    elements = 2 * size.key_dim / size.group + 2 * size.value_dim + 1
    moved = size.heads_tokens * (elements * size.element + FLOAT32)
    return Work(chunks * ((2 + share) * state + 2 * keys + 2 * values), moved)


def delta_backward(size: Size, share: float = 1.0) -> Work:
    """Return the work of the gated delta rule's gradients, from the inputs and do: the forward pass is recomputed.

    Per chunk and head, with x = A b the solution of the triangular system, b = beta (v - e^c k S), M the attention
    inside the chunk:

    - recomputed: k S, k k^T, q k^T, the solve, and k^T x in routed chunks;
    - products with states and their gradients: do S^T, db S^T, q^T do, k^T db, and in routed chunks k dS', x dS'^T;
    - inside the chunk: M^T do, do x^T, the solve for db, db x^T (2 P V each); dM k, dM^T q, and the gradient of k k^T
      on both its sides (2 P K each).

    Read: q, k, v, g, beta, do; written: dq, dk, dv, dg, dbeta.
    """
    chunks, state, keys, values = _chunk_products(size)
    elements = 4 * size.key_dim / size.group + 3 * size.value_dim + 2
    moved = size.heads_tokens * (elements * size.element + 2 * FLOAT32)
    return Work(chunks * ((5 + 3 * share) * state + 6 * keys + 5 * values), moved)


def both_forward(shapes: Shapes, batch: int, length: int, share: float) -> Work:
    """Return the work of both branches on the same values, ``share`` of the chunks to softmax, the rest to linear."""
    softmax, linear = Size.softmax(shapes, batch, length), Size.linear(shapes, batch, length)
    return softmax_forward(softmax, share) + delta_forward(linear, 1 - share) + _values(linear, -1)


def both_backward(shapes: Shapes, batch: int, length: int, share: float) -> Work:
    """Return the work of both branches' gradients; the shared values have one gradient."""
    softmax, linear = Size.softmax(shapes, batch, length), Size.linear(shapes, batch, length)
    return softmax_backward(softmax, share) + delta_backward(linear, 1 - share) + _values(linear, -2)


def _values(size: Size, times: int) -> Work:
    """Return the work of moving a tensor of the shape of v ``times`` times."""
    return Work(0, times * size.heads_tokens * size.value_dim * size.element)


def layer_weights(a: Architecture, mixer: str) -> int:
    """Count the entries of a mixer's projections: q, k, v, gate, output, decay, write strength and branch weights."""
    keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
    weights = a.width * (2 * keys + 3 * values)
    operations = operations_of(mixer)
    gates = {Linear.name: 2 * a.width * a.linear_heads}
    weights += sum(gates.get(operation, 0) for operation in operations)
    return weights + (2 * keys * a.softmax_heads if len(operations) > 1 else 0)


def mixer_passes(shapes: Shapes, mixer: str, batch: int, length: int, share: float) -> tuple[Work, Work]:
    """Return the work of a whole mixer's two passes, as one operation on [B, T, width] and its weights.

    The operations are those of the branches and the projections, 2 per token and weight forward and 4 backward.
    Convolutions, norms, gates and the router are left out. Nothing between the projections has to leave the chip.
    """
    a, tokens, element = shapes.architecture, batch * length, shapes.dtype.itemsize
    weights = layer_weights(a, mixer)
    passes = {
        Softmax.name: (Size.softmax(shapes, batch, length), softmax_forward, softmax_backward),
        Linear.name: (Size.linear(shapes, batch, length), delta_forward, delta_backward),
    }
    forward, backward = 2.0 * tokens * weights, 4.0 * tokens * weights
    operations = operations_of(mixer)
    shares = (share, 1 - share) if len(operations) > 1 else (1.0,)
    for operation, routed in zip(operations, shares, strict=True):
        size, there, back = passes[operation]
        forward += there(size, routed).flops
        backward += back(size, routed).flops
    stream = tokens * a.width
    return Work(forward, (2 * stream + weights) * element), Work(backward, (3 * stream + 2 * weights) * element)


def prefill(shapes: Shapes, mixers: tuple[str, ...], length: int, share: float) -> Work:
    """Return the work of the whole model's forward pass on one sequence, without embedding and head."""
    a = shapes.architecture
    mlp = 3 * a.width * a.mlp_width
    work = Work()
    for mixer in mixers:
        forward, _ = mixer_passes(shapes, mixer, 1, length, share)
        work = work + forward + Work(2.0 * length * mlp, mlp * shapes.dtype.itemsize)
    return work


def measure_ceilings(shapes: Shapes, clock: Clock, seconds: float = 1.0) -> Ceilings:
    """Measure both ceilings of the clock's device."""
    size, dtype = shapes.matrix_size, shapes.dtype
    source = torch.randn(shapes.copy_bytes // FLOAT32, device=clock.device)
    target = torch.empty_like(source)
    a, b = (torch.randn(size, size, dtype=dtype, device=clock.device) for _ in range(2))
    calls: dict[str, Callable[[int], object]] = {
        "copy": lambda _: target.copy_(source),
        "product": lambda _: a @ b,
    }
    times = interleaved(calls, clock, seconds)
    copy, product = times["copy"].value, times["product"].value
    if copy is None or product is None:
        raise RuntimeError(f"the ceilings could not be measured: {times['copy'].failure}, {times['product'].failure}")
    return Ceilings(2e3 * size**3 / product, 2e3 * shapes.copy_bytes / copy)
