"""Packed documents: a batch as one sequence in which every document begins anew.

The documents of a batch [B, T] lie one after another, and every sequence begins a document. Layers compute the batch as
a single sequence of B * T tokens. In `nas.kernels` the argument ``cu_seqlens`` says where documents begin. Neither a
state nor attention nor a chunk crosses into another document, and positions and chunks are counted from its start.

>>> import torch
>>> from nas.data.documents import Documents
>>> documents = Documents.of(torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]]))
>>> documents.cu_seqlens.tolist(), documents.positions.tolist()
([0, 3, 4, 5, 8], [0, 1, 2, 0, 0, 0, 1, 2])
>>> documents.chunks(2).tokens.tolist()
[2, 1, 1, 1, 2, 1]
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor


class Chunks(NamedTuple):
    """The N chunks of all documents, in order. The last chunk of a document may be short.

    Attributes:
        places: [N, C] int64, the tokens of each chunk in the packed sequence; a short chunk repeats its last token.
        inside: [N, C] bool, false where a token is repeated.
        tokens: [N] int64, number of tokens of each chunk.
        row: [N] int64, place of each chunk in the flattened rows [D, M] of `as_rows`.
        documents: number of documents D.
        most: largest number of chunks of a document, M.
    """

    places: Tensor
    inside: Tensor
    tokens: Tensor
    row: Tensor
    documents: int
    most: int

    @property
    def last(self) -> Tensor:
        """Places [N] of the last token of each chunk."""
        return self.places[:, -1]

    def of(self, x: Tensor) -> Tensor:
        """Return the tokens [N, C, ...] of each chunk, given the packed tokens x [B * T, ...]."""
        return x.index_select(0, self.places.flatten()).unflatten(0, self.places.shape)

    def as_rows(self, x: Tensor) -> Tensor:
        """Return values of chunks [1, N, ...] with a row for each document: [D, M, ...], zeros behind its chunks."""
        rows = x.new_zeros(self.documents * self.most, *x.shape[2:])
        return rows.index_copy(0, self.row, x[0]).unflatten(0, (self.documents, self.most))

    def from_rows(self, rows: Tensor) -> Tensor:
        """Return values [1, N, ...] of chunks from rows [D, M, ...]; undoes `as_rows`."""
        return rows.flatten(0, 1).index_select(0, self.row)[None]


@dataclass(frozen=True, eq=False)
class Documents:
    """The documents of a batch [B, T], which is one packed sequence of B * T tokens.

    `of` computes them on the host, before the batch moves to a GPU: finding them there would wait for the GPU.

    Attributes:
        cu_seqlens: [D + 1] int32, always on the CPU: document d has the tokens from value d to value d + 1.
        start: [1, B * T] int32, what to add to the place of each token for its position in its document.
    """

    cu_seqlens: Tensor
    start: Tensor
    _chunks: dict[int, Chunks] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, index: Tensor) -> Self:
        """Return the documents of a batch, given the index [B, T] of each token's document within its sequence.

        A document begins at the start of each sequence, and where the index changes.
        """
        begins = torch.ones(index.shape, dtype=torch.bool)
        begins[:, 1:] = (index[:, 1:] != index[:, :-1]).cpu()
        starts = begins.flatten().nonzero().flatten()
        cu_seqlens = torch.cat([starts, torch.tensor([index.numel()])])
        start = -starts.repeat_interleave(cu_seqlens.diff()).int()
        return cls(cu_seqlens.int(), start[None].to(index.device))

    @property
    def positions(self) -> Tensor:
        """Position of each token in its document, [B * T] int64."""
        return self.start[0] + torch.arange(self.start.shape[1], device=self.start.device)

    @property
    def longest(self) -> int:
        """Tokens of the longest document."""
        return int(self.cu_seqlens.diff().max())

    def chunks(self, chunk_size: int) -> Chunks:
        """Return the chunks of the documents; those of a size are computed once."""
        if chunk_size not in self._chunks:
            self._chunks[chunk_size] = self._chunked(chunk_size)
        return self._chunks[chunk_size]

    def _chunked(self, chunk_size: int) -> Chunks:
        """Compute what depends on borders on the host; small tensors go to the device, which is not waited for."""
        starts, lengths = self.cu_seqlens[:-1].long(), self.cu_seqlens.diff().long()
        counts = -(-lengths // chunk_size)
        documents, most = len(counts), int(counts.max())
        document = torch.arange(documents).repeat_interleave(counts)
        number = torch.arange(len(document)) - (counts.cumsum(0) - counts)[document]
        first = starts[document] + number * chunk_size
        tokens = (lengths[document] - number * chunk_size).clamp(max=chunk_size)
        table = torch.stack([first, tokens, document * most + number])
        first, tokens, row = table.to(self.start.device, non_blocking=True).unbind()
        offset = torch.arange(min(chunk_size, self.longest), device=first.device)
        inside = offset < tokens[:, None]
        return Chunks(first[:, None] + offset.minimum(tokens[:, None] - 1), inside, tokens, row, documents, most)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the same documents for tokens on a device."""
        return replace(self, start=self.start.to(device, non_blocking=non_blocking), _chunks={})

    def pin_memory(self) -> Self:
        """Return the same documents in pinned memory, from which a copy to a GPU overlaps computation."""
        return replace(self, start=self.start.pin_memory(), _chunks={})
