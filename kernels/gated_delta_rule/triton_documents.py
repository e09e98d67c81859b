"""Tables of packed documents for the kernels of the gated delta rule: where each tile and each segment lies."""

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import triton
from torch import Tensor

Numbers = npt.NDArray[np.int64]

COUNTS = ("T", "NT", "N", "SEGMENTS", "SEGMENT_TILES", "SPLIT", "FIRST", "COUNT")
"""Arguments of the kernels that change with the documents."""


class Documents(NamedTuple):
    """Numbers of a call with packed documents, and its tables on the device.

    A document of many tiles is split into segments, as a sequence is. Every other document is one segment, without
    tiles if the document is empty. The segments of split documents come first.
    """

    tables: Tensor
    """int32: the rows of all tiles, of all segments and of all split documents, one after the other."""
    documents: int
    """Documents, empty ones too."""
    chunks: int
    """Chunks N of all documents."""
    tiles: int
    """Tiles NT of all documents."""
    segments: int
    """Segments of all documents."""
    split_segments: int
    """Segments of split documents."""
    full_tiles: int
    """Tiles of which every token is in the document."""

    @property
    def tile_table(self) -> Tensor:
        """[NT, 8]: first token, end of the document, chunk, first and last tile of the chunk, and two zeros.

        Between these zeros and the rest are the numbers of all tiles, the full ones first.
        """
        return self.tables[: 8 * self.tiles]

    @property
    def segment_table(self) -> Tensor:
        """[segments, 8]: first tile, end tile, first token, end of the document, first chunk, document, and whether it
        is the document's first and last segment.
        """
        return self.tables[8 * self.tiles :][: 8 * self.segments]

    @property
    def split_table(self) -> Tensor:
        """[split documents, 4]: document, first segment, number of segments, 0."""
        return self.tables[8 * (self.tiles + self.segments) :]


def tabulate(
    borders: list[int], chunk_size: int, tile_tokens: int, segment_tiles: int, device: torch.device
) -> Documents:
    """Compute the tables on the host and copy them to the device, without waiting for it.

    Args:
        borders: where documents begin and end, checked.
        chunk_size: tokens in a chunk, a multiple of tile_tokens.
        tile_tokens: tokens in a tile.
        segment_tiles: most tiles in a segment; whole chunks, unless no document has more tiles.
        device: device of the tables.
    """
    values = np.array(borders)
    starts, ends = values[:-1], values[1:]
    tiles, chunks = (_ceil_div(ends - starts, size) for size in (tile_tokens, chunk_size))
    first_tile, first_chunk = tiles.cumsum() - tiles, chunks.cumsum() - chunks
    tiles_of_chunk = chunk_size // tile_tokens
    parts = np.maximum(_ceil_div(tiles, segment_tiles), 1)
    split = np.flatnonzero(parts > 1)
    counts = parts[split]
    tile_count, segment_count, split_segments = (int(x.sum()) for x in (tiles, parts, counts))
    tables = np.zeros(8 * (tile_count + segment_count) + 4 * len(split), dtype=np.int32)

    document, index = _enumerate(tiles)
    chunk = index // tiles_of_chunk
    rows = tables[: 8 * tile_count].reshape(-1, 8)
    rows[:, 0] = starts[document] + index * tile_tokens
    rows[:, 1] = ends[document]
    rows[:, 2] = first_chunk[document] + chunk
    rows[:, 3] = first_tile[document] + chunk * tiles_of_chunk
    rows[:, 4] = first_tile[document] + np.minimum((chunk + 1) * tiles_of_chunk, tiles[document]) - 1
    full = rows[:, 0] + tile_tokens <= rows[:, 1]
    rows[:, 5] = np.argsort(~full, kind="stable")

    document, index = _enumerate(parts)
    order = np.argsort(parts[document] == 1, kind="stable")
    document, index = document[order], index[order]
    first = index * segment_tiles
    rows = tables[8 * tile_count :][: 8 * segment_count].reshape(-1, 8)
    rows[:, 0] = first_tile[document] + first
    rows[:, 1] = first_tile[document] + np.minimum(first + segment_tiles, tiles[document])
    rows[:, 2] = starts[document] + first * tile_tokens
    rows[:, 3] = ends[document]
    rows[:, 4] = first_chunk[document] + first // tiles_of_chunk
    rows[:, 5] = document
    rows[:, 6] = index == 0
    rows[:, 7] = index == parts[document] - 1

    rows = tables[8 * (tile_count + segment_count) :].reshape(-1, 4)
    rows[:, 0] = split
    rows[:, 1] = counts.cumsum() - counts
    rows[:, 2] = counts
    return Documents(
        torch.from_numpy(tables).to(device, non_blocking=True),
        documents=len(borders) - 1,
        chunks=int(chunks.sum()),
        tiles=tile_count,
        segments=segment_count,
        split_segments=split_segments,
        full_tiles=int(full.sum()),
    )


def _ceil_div(a: Numbers, b: int) -> Numbers:
    return (a + (b - 1)) // b


def _enumerate(counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return for every part of every document its document, and its index among the parts of that document."""
    document = np.arange(len(counts)).repeat(counts)
    return document, np.arange(len(document)) - (counts.cumsum() - counts)[document]


def segments_of(documents: Documents | None) -> tuple[Tensor | None, int | None]:
    """Return the table of segments and the number of segments of split documents; None without documents."""
    return (None, None) if documents is None else (documents.segment_table, documents.split_segments)


@functools.cache
def for_documents(kernel: Any) -> Any:
    """Return the kernel compiled once for all values of `COUNTS`: a version for multiples of 16 would come and go."""
    return triton.jit(kernel.fn, do_not_specialize=COUNTS)
