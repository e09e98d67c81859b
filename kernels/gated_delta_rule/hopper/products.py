"""Products, barriers and decays of the kernels for Hopper.

The kernels are written in Gluon, Triton's language for one kind of GPU. Groups of four warps compute different parts of
a tile at once and pass operands on through shared memory. A barrier of each buffer says when it is full, another one
when it may be filled anew: the n-th waiting for it passes at phase n % 2.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma, warpgroup_mma, warpgroup_mma_wait

TOKENS = gl.constexpr(64)
"""Tokens of a tile: the rows of a product of four warps."""
KEYS = gl.constexpr(128)
"""Columns of q and k."""
GATES = gl.constexpr(3 * 64)
"""Numbers of a tile's gates (see `triton_tiles`)."""
GATES_COPIED = gl.constexpr(256)
"""Numbers that are copied for a tile's gates: sizes of copies are powers of 2."""
GATES_LAYOUT = gl.constexpr(gl.NVMMASharedLayout(swizzle_byte_width=0, element_bitwidth=32, rank=1))

# Triton 3.8 has other names
copy_in = tma.async_load if hasattr(tma, "async_load") else tma.async_copy_global_to_shared
copy_out = tma.async_store if hasattr(tma, "async_store") else tma.async_copy_shared_to_global


@gluon.constexpr_function
def layout_of(columns):
    """Return the registers' layout of a product with ``columns`` columns."""
    return gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, columns, 16])


@gluon.constexpr_function
def shared_layout(dtype, *shape):
    """Return the layout of a tile in shared memory that copies and products take."""
    return gl.NVMMASharedLayout.get_default_for(list(shape), dtype)


@gluon.jit
def matrix(pointer, rows, columns, stride, ROWS: gl.constexpr, COLUMNS: gl.constexpr):
    """Return a descriptor of a matrix [rows, columns], copied in tiles [ROWS, COLUMNS]."""
    layout: gl.constexpr = shared_layout(pointer.dtype.element_ty, ROWS, COLUMNS)
    return tma.make_tensor_descriptor(pointer, [rows, columns], [stride, 1], [ROWS, COLUMNS], layout)


@gluon.jit
def buffers(DTYPE: gl.constexpr, COUNT: gl.constexpr, ROWS: gl.constexpr, COLUMNS: gl.constexpr):
    """Return COUNT tiles [ROWS, COLUMNS] of shared memory."""
    return gl.allocate_shared_memory(DTYPE, [COUNT, ROWS, COLUMNS], shared_layout(DTYPE, ROWS, COLUMNS))


@gluon.jit
def buffer(DTYPE: gl.constexpr, ROWS: gl.constexpr, COLUMNS: gl.constexpr):
    """Return a tile [ROWS, COLUMNS] of shared memory."""
    return gl.allocate_shared_memory(DTYPE, [ROWS, COLUMNS], shared_layout(DTYPE, ROWS, COLUMNS))


@gluon.jit
def gates_of(pointer, tiles):
    """Return a descriptor of the gates of ``tiles`` tiles, to copy from GATES * n on."""
    return tma.make_tensor_descriptor(pointer, [tiles * GATES], [1], [GATES_COPIED], GATES_LAYOUT)


@gluon.jit
def gates_buffers(COUNT: gl.constexpr):
    """Return shared memory for the gates of COUNT tiles."""
    return gl.allocate_shared_memory(gl.float32, [COUNT, GATES_COPIED], GATES_LAYOUT)


@gluon.jit
def barriers(COUNT: gl.constexpr, ARRIVALS: gl.constexpr):
    """Return COUNT barriers that pass after ARRIVALS arrivals each."""
    result = gl.allocate_shared_memory(gl.int64, [COUNT, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(COUNT):
        mbarrier.init(result.index(i), count=ARRIVALS)
    return result


@gluon.jit
def barrier(ARRIVALS: gl.constexpr):
    """Return a barrier that passes after ARRIVALS arrivals."""
    result = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(result, count=ARRIVALS)
    return result


@gluon.jit
def product(a, b, COLUMNS: gl.constexpr):
    """Compute a b [TOKENS, COLUMNS] in float32, of operands in shared memory."""
    zeros = gl.zeros([TOKENS, COLUMNS], gl.float32, layout_of(COLUMNS))
    return warpgroup_mma_wait(0, [warpgroup_mma(a, b, zeros, use_acc=False, is_async=True)])


@gluon.jit
def add_product(a, b, acc):
    """Compute a b + acc in float32; a may be in registers, see `as_left`."""
    return warpgroup_mma_wait(0, [warpgroup_mma(a, b, acc, is_async=True)])


@gluon.jit
def as_left(x, COLUMNS: gl.constexpr):
    """Return a product [TOKENS, TOKENS] as the left operand, in registers, of a product with COLUMNS columns."""
    return gl.convert_layout(x, gl.DotOperandLayout(0, layout_of(COLUMNS), 2))


@gluon.jit
def _exp(x):
    """Compute e^x, and 0 instead of numbers below the normal ones, in two instructions."""
    return gl.inline_asm_elementwise(
        "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x * 1.4426950408889634], dtype=gl.float32, is_pure=True, pack=1
    )


@gluon.jit
def _sums(gates, LAYOUT: gl.constexpr):
    """Load the sums of a tile's log decays in shared memory, integer and fractional parts."""
    return gates.slice(0, TOKENS).load(LAYOUT), gates.slice(TOKENS, TOKENS).load(LAYOUT)


@gluon.jit
def _last_sums(gates, LAYOUT: gl.constexpr):
    """Load the last of `_sums` [1]."""
    return gates.slice(TOKENS - 1, 1).load(LAYOUT), gates.slice(2 * TOKENS - 1, 1).load(LAYOUT)


@gluon.jit
def strengths(gates, LAYOUT: gl.constexpr):
    """Load beta of a tile in shared memory."""
    return gates.slice(2 * TOKENS, TOKENS).load(LAYOUT)


@gluon.jit
def decays(gates, STRICT: gl.constexpr):
    """Compute exp(c_i - c_j) [TOKENS, TOKENS] for j <= i, for j < i with STRICT, else 0, from a tile's gates."""
    square: gl.constexpr = layout_of(TOKENS)
    i = gl.arange(0, TOKENS, layout=gl.SliceLayout(1, square))[:, None] - (1 if STRICT else 0)
    j = gl.arange(0, TOKENS, layout=gl.SliceLayout(0, square))[None, :]
    whole, rest = _sums(gates, gl.SliceLayout(1, square))
    other_whole, other_rest = _sums(gates, gl.SliceLayout(0, square))
    between = (whole[:, None] - other_whole[None, :]) + (rest[:, None] - other_rest[None, :])
    return _exp(gl.where(i >= j, between, float("-inf")))


@gluon.jit
def decays_transposed(gates):
    """Compute the transpose of `decays`."""
    square: gl.constexpr = layout_of(TOKENS)
    i = gl.arange(0, TOKENS, layout=gl.SliceLayout(1, square))[:, None]
    j = gl.arange(0, TOKENS, layout=gl.SliceLayout(0, square))[None, :]
    whole, rest = _sums(gates, gl.SliceLayout(1, square))
    other_whole, other_rest = _sums(gates, gl.SliceLayout(0, square))
    between = (other_whole[None, :] - whole[:, None]) + (other_rest[None, :] - rest[:, None])
    return _exp(gl.where(i <= j, between, float("-inf")))


@gluon.jit
def decay_over_tile(gates, COLUMNS: gl.constexpr):
    """Compute the decay over a whole tile from its gates."""
    whole, rest = _last_sums(gates, gl.SliceLayout(1, layout_of(COLUMNS)))
    return gl.sum(_exp(whole + rest), 0)


@gluon.jit
def gates_by_row(gates, COLUMNS: gl.constexpr):
    """Load a tile's gates: decays from its start, decays to its end, and beta, for the rows of a product."""
    layout: gl.constexpr = gl.SliceLayout(1, layout_of(COLUMNS))
    whole, rest = _sums(gates, layout)
    last_whole, last_rest = _last_sums(gates, layout)
    return _exp(whole + rest), _exp((last_whole - whole) + (last_rest - rest)), strengths(gates, layout)
