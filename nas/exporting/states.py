"""Decoding states of the layers of an exported model, in plain PyTorch: they keep only what routers keep."""

from typing import NamedTuple

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype
from nas.models.open_chunk import BEGUN, EMPTY


class SoftmaxHeads(NamedTuple):
    """The inputs of softmax attention: q [B, T, H, K], k [B, T, G, K], v [B, T, G, V]."""

    q: Tensor
    k: Tensor
    v: Tensor


class LinearHeads(NamedTuple):
    """The inputs of linear attention: q, k [B, T, H, K], v [B, T, H, V], log-decay and write strength [B, T, H]."""

    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    beta: Tensor


class Inputs(NamedTuple):
    """The inputs of the branches of a layer: x [B, T, width], and q, k, v [B, T, channels]."""

    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor


class Keys:
    """Keys and values of softmax attention, entry by entry: one for each token of each routing head that is kept.

    Entries are in any order. ``owner`` is sequence * R + routing head.

    Args:
        k: [S, g, K], keys of the g heads of a routing head.
        v: [S, g, V].
        owner: [S] int64.
        position: [S] int64, position of the token.
        sequences: number of sequences.
        routing_heads: R; 1 without a router.
        window: tokens to which a token attends; None for all.
    """

    def __init__(
        self, k: Tensor, v: Tensor, owner: Tensor, position: Tensor, sequences: int, routing_heads: int,
        window: int | None,
    ) -> None:  # fmt: skip
        self.k, self.v, self.owner, self.position = k, v, owner, position
        self.sequences, self.routing_heads, self.window = sequences, routing_heads, window

    @classmethod
    def of(cls, given: SoftmaxHeads, route: Tensor | None, chunk_size: int, window: int | None) -> "Keys":
        """Return the entries of prompts, with the route [B, N, R] of all their chunks or None."""
        _, k, v = given
        batch, length = k.shape[:2]
        heads = 1 if route is None else route.shape[2]
        position = torch.arange(length, device=k.device)
        kept = torch.ones(batch, length, heads, dtype=torch.bool, device=k.device)
        if route is not None:
            is_open = position >= length - length % chunk_size
            kept = (route > 0).repeat_interleave(chunk_size, dim=1)[:, :length] | is_open[:, None]
        if window is not None:
            kept &= (position > length - window)[:, None]
        row, at, head = kept.nonzero(as_tuple=True)
        k, v = (x.unflatten(2, (heads, -1))[row, at, head] for x in (k, v))
        return cls(k, v, row * heads + head, at, batch, heads, window)

    @classmethod
    def joined(cls, parts: list["Keys"]) -> "Keys":
        """Return the entries of several batches as one batch."""
        first, before, owners = parts[0], 0, []
        for part in parts:
            owners.append(part.owner + before * part.routing_heads)
            before += part.sequences
        k, v, position = (torch.cat([getattr(part, name) for part in parts]) for name in ("k", "v", "position"))
        return cls(k, v, torch.cat(owners), position, before, first.routing_heads, first.window)

    def step(self, given: SoftmaxHeads, position: Tensor) -> Tensor:
        """Add a token at its position [B, 1], and return what it attends to, [B, 1, H, V]."""
        q, k, v = given
        heads, dtype = self.routing_heads, compute_dtype(q.dtype)
        k, v = (x.squeeze(1).unflatten(1, (heads, -1)).flatten(0, 1) for x in (k, v))
        added = torch.arange(len(k), device=k.device)
        self._replace(
            torch.cat([self.k, k]),
            torch.cat([self.v, v]),
            torch.cat([self.owner, added]),
            torch.cat([self.position, position.expand(-1, heads).flatten()]),
        )
        if self.window is not None:
            self._keep(self.position > position.squeeze(1)[self.owner] - self.window)
        queries = q.squeeze(1).to(dtype).reshape(len(k), k.shape[1], -1, q.shape[-1]) * q.shape[-1] ** -0.5
        scores = torch.einsum("sgk,sgrk->sgr", self.k.to(dtype), queries[self.owner])
        owner = self.owner[:, None, None].expand_as(scores)
        largest = scores.new_full(queries.shape[:3], -torch.inf).scatter_reduce(0, owner, scores, "amax")
        weights = (scores - largest[self.owner]).exp()
        total = torch.zeros_like(largest).index_add(0, self.owner, weights)
        mixed = weights[..., None] * self.v.to(dtype)[:, :, None]
        o = mixed.new_zeros(*queries.shape[:3], v.shape[-1]).index_add(0, self.owner, mixed) / total[..., None]
        return o.reshape(self.sequences, 1, q.shape[2], -1).to(v.dtype)

    def close(self, route: Tensor, ends: Tensor, start: Tensor) -> None:
        """Free the chunks that end and are not kept.

        Args:
            route: [B, R] of the chunk.
            ends: [B] bool, the sequences whose chunk ends.
            start: [B, 1], position of its first token.
        """
        dropped = ((route == 0) & ends[:, None]).flatten()[self.owner]
        begun = start.expand(-1, self.routing_heads).flatten()[self.owner]
        self._keep(~(dropped & (self.position >= begun)))

    def _keep(self, kept: Tensor) -> None:
        self._replace(self.k[kept], self.v[kept], self.owner[kept], self.position[kept])

    def _replace(self, k: Tensor, v: Tensor, owner: Tensor, position: Tensor) -> None:
        self.k, self.v, self.owner, self.position = k, v, owner, position


class LinearState:
    """States of linear attention: [B, H, K, V] now and at the start of the chunk, and the log-decay [B, H] since."""

    def __init__(self, current: Tensor, start: Tensor, log_decay: Tensor) -> None:
        self.current, self.start, self.log_decay = current, start, log_decay

    @classmethod
    def joined(cls, parts: list["LinearState"]) -> "LinearState":
        """Return the states of several batches as one batch."""
        names = ("current", "start", "log_decay")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def step(self, given: LinearHeads) -> Tensor:
        """Process a token, T = 1; return its output [B, 1, H, V]."""
        q, k, v, g, beta = given
        dtype = self.current.dtype
        key, query, value = (x.squeeze(1).to(dtype) for x in (k, q, v))
        g, beta = g.squeeze(1).to(dtype), beta.squeeze(1).to(dtype)
        state = self.current * g.exp()[..., None, None]
        wrong = value - torch.einsum("bhk,bhkv->bhv", key, state)
        self.current = state + torch.einsum("bhk,bhv->bhkv", key, beta[..., None] * wrong)
        self.log_decay = self.log_decay + g
        o = torch.einsum("bhk,bhkv->bhv", query, self.current) * q.shape[-1] ** -0.5
        return o.unsqueeze(1).to(v.dtype)

    def close(self, route: Tensor, ends: Tensor) -> None:
        """Undo the change of the chunks that end and are not compressed; see `Keys.close`."""
        heads = route.repeat_interleave(self.current.shape[1] // route.shape[1], dim=1)[..., None, None]
        decayed = self.start * self.log_decay.exp()[..., None, None]
        after = torch.where(ends[:, None, None, None], decayed + heads * (self.current - decayed), self.current)
        self.start = torch.where(ends[:, None, None, None], after, self.start)
        self.current = after
        self.log_decay = self.log_decay.masked_fill(ends[:, None], 0.0)


class LayerState:
    """The decoding state of a layer.

    Attributes:
        filled: whether a prompt has been processed.
        past: last inputs [B, size - 1, channels] of each convolution, by name.
        keys: keys and values of softmax attention.
        linear: states of linear attention.
        read: [B, width] of each feature that the router reads of the open chunk.
    """

    keys: Keys
    linear: LinearState

    def __init__(self) -> None:
        self.filled = False
        self.past: dict[str, Tensor] = {}
        self.read: dict[str, Tensor] = {}

    @classmethod
    def joined(cls, parts: list["LayerState"]) -> "LayerState":
        """Return the states of several batches as one batch."""
        made, first = cls(), parts[0]
        made.filled = True
        made.past = {name: torch.cat([part.past[name] for part in parts]) for name in first.past}
        made.read = {name: torch.cat([part.read[name] for part in parts]) for name in first.read}
        if hasattr(first, "keys"):
            made.keys = Keys.joined([part.keys for part in parts])
        if hasattr(first, "linear"):
            made.linear = LinearState.joined([part.linear for part in parts])
        return made

    def begin_chunk(self, x: Tensor, chunk_size: int, features: tuple[str, ...]) -> None:
        """Read the tokens of prompts x [B, T, width] that do not fill a chunk."""
        begun = x[:, x.shape[1] - x.shape[1] % chunk_size :]
        self.read = {feature: BEGUN[feature](begun) for feature in features}

    def add(self, x: Tensor, length: Tensor, chunk_size: int) -> Tensor:
        """Read a token x [B, 1, width], with which sequences have ``length`` [B, 1]; return which chunks end, [B]."""
        added = x.squeeze(1)
        for feature, read in self.read.items():
            if feature == "mean":
                self.read[feature] = read + added
            elif feature == "max":
                self.read[feature] = torch.maximum(read, added)
            else:
                self.read[feature] = added
        return length.squeeze(1) % chunk_size == 0

    def pooled(self, chunk_size: int, dtype: torch.dtype) -> list[Tensor]:
        """Return what the router reads of a full chunk, [B, 1, width] for each feature."""
        read = (one / chunk_size if feature == "mean" else one for feature, one in self.read.items())
        return [one.to(dtype).unsqueeze(1) for one in read]

    def clear(self, ends: Tensor) -> None:
        """Begin a new chunk in sequences [B]."""
        for feature, one in self.read.items():
            self.read[feature] = one.masked_fill(ends[:, None], EMPTY.get(feature, 0.0))

    @property
    def bytes_in_use(self) -> int:
        """Bytes of keys, values and states of all sequences."""
        tensors = [self.keys.k, self.keys.v] if hasattr(self, "keys") else []
        if hasattr(self, "linear"):
            tensors += [self.linear.current, self.linear.start, self.linear.log_decay]
        return sum(x.numel() * x.element_size() for x in tensors)
