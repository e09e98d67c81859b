"""Tables of packed documents for the softmax kernels: which document a program works in, and where.

A program takes a block of tokens or of keys of one document. It moves its pointers to the document and then computes as
if the document were the whole sequence. So no block spans two documents, and the programs follow from the blocks of all
documents together, however long each is. Tables are built on the host, by tensor operations alone, and copied to the
device without waiting for it.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from typing import Literal, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

Order = Literal["as stored", "late queries first", "early keys first"]
"""Order of the blocks. Programs with most work should start first."""

FIELDS = tl.constexpr(5)
"""Numbers in a row of the table of blocks."""
MOST_BLOCKS = tl.constexpr(2**23)
"""More blocks than any document has, a power of two. With 128 tokens in each, the last position fits int32."""


class Documents(NamedTuple):
    """Documents of a packed sequence, each field [documents] int64 on the CPU."""

    start: Tensor
    """First token."""
    length: Tensor
    """Tokens; 0 for an empty document."""
    first_chunk: Tensor
    """Chunks of all earlier documents."""
    chunks: Tensor
    """Chunks, the last of which may be short."""


def find(borders: list[int], chunk_size: int) -> Documents:
    """Return the documents of which n has the tokens from ``borders`` n to n + 1."""
    bounds = torch.tensor(borders)
    length = bounds.diff()
    chunks = -(-length // chunk_size)
    return Documents(bounds[:-1], length, chunks.cumsum(0) - chunks, chunks)


def chunk_table(documents: Documents, device: torch.device) -> Tensor:
    """Return the first chunk and the number of chunks of each document, [documents, 2] int32."""
    return _moved(torch.stack([documents.first_chunk, documents.chunks], dim=1), device)


def block_table(
    documents: Documents, size: int, device: torch.device, order: Order = "as stored", chunk_size: int | None = None
) -> Tensor:
    """Return the blocks of ``size`` tokens, each a row of the numbers that `load_block` reads, [blocks, 5] int32.

    Args:
        documents: the documents.
        size: tokens in a block; the last block of a document may be short.
        device: of the table.
        order: order of the blocks.
        chunk_size: round the tokens of a document up to whole chunks, as on the permuted key axis; None for tokens.
    """
    tokens = documents.length if chunk_size is None else documents.chunks * chunk_size
    blocks = -(-tokens // size)
    number = torch.arange(len(blocks)).repeat_interleave(blocks)
    block = torch.arange(len(number)) - (blocks.cumsum(0) - blocks)[number]  # counted from the document's start
    length, first_chunk = documents.length[number], documents.first_chunk[number]
    table = torch.stack([documents.start[number], length, first_chunk, number, block], dim=1)
    if order == "late queries first":
        table = table[block.argsort(descending=True, stable=True)]
    elif order == "early keys first":
        table = table[(length - block * size).argsort(descending=True, stable=True)]
    return _moved(table, device)


def _moved(table: Tensor, device: torch.device) -> Tensor:
    return table.to(torch.int32).to(device, non_blocking=True)


@triton.jit
def load_block(table, block, SIZE: tl.constexpr):
    """Load a block: its document's first token, tokens, first chunk and number; and its first position in there.

    The table has the number of the block in its document. So the compiler sees that the position is a multiple of SIZE
    and, by the mask, far from the largest int32: where one step covers a block, it then keeps no loop.
    """
    row = table + block * FIELDS
    number = tl.load(row + 4) & (MOST_BLOCKS - 1)
    return (
        tl.load(row).to(tl.int64),
        tl.load(row + 1),
        tl.load(row + 2).to(tl.int64),
        tl.load(row + 3).to(tl.int64),
        number * SIZE,
    )
