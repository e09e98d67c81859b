"""The tiles of both scans for Hopper: where those of a segment lie, and the group of warps that loads them."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier

from nas.kernels.gated_delta_rule.hopper.products import GATES, TOKENS, copy_in


@gluon.jit
def place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED: gl.constexpr):
    """Return a segment's first tile, the tile after its last, and the end of its sequence or document.

    A fourth number is how many tokens after token n * TOKENS the n-th tile begins. Rows are copied up to the end alone.
    """
    if PACKED:
        row = table + segment * 8
        first, last, end = gl.load(row), gl.load(row + 1), gl.load(row + 3)
        shift = gl.load(row + 2) - first * TOKENS
    else:
        first = segment * SEGMENT_TILES
        last = gl.minimum(first + SEGMENT_TILES, NT)
        end, shift = T, 0
    return first, last, end, shift


@gluon.jit
def load_tiles(
    q_rows, k_rows, v_rows, a_rows, gates_rows, q_tiles, k_tiles, v_tiles, a_tiles, gates_tiles, ready, free,
    first, last, shift, column, HAS_QUERIES: gl.constexpr, BACKWARD: gl.constexpr,
):  # fmt: skip
    """Copy q, k, v, A and the gates of each tile to shared memory, two tiles ahead at most.

    BACKWARD begins with the last tile, and has the gradient of o for v. Without HAS_QUERIES q is left out.
    """
    for step in range(last - first):
        n = last - 1 - step if BACKWARD else first + step
        stage = step % 2
        mbarrier.wait(free.index(stage), ((step // 2) & 1) ^ 1)
        full = ready.index(stage)
        keys: gl.constexpr = k_rows.block_type.nbytes + gates_rows.block_type.nbytes
        size: gl.constexpr = keys + v_rows.block_type.nbytes + a_rows.block_type.nbytes
        mbarrier.expect(full, size + (q_rows.block_type.nbytes if HAS_QUERIES else 0))
        copy_in(gates_rows, [n * GATES], full, gates_tiles.index(stage))
        token = n * TOKENS + shift
        copy_in(k_rows, [token, 0], full, k_tiles.index(stage))
        if HAS_QUERIES:
            copy_in(q_rows, [token, 0], full, q_tiles.index(stage))
        copy_in(v_rows, [token, column], full, v_tiles.index(stage))
        copy_in(a_rows, [n * TOKENS, 0], full, a_tiles.index(stage))
