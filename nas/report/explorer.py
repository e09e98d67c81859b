"""Data of the routing explorer of a page: tokens once, and packed numbers of every layer and head."""

import math
import statistics
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from nas.evaluation.routing_map import CODES, RoutingMap, Snapshot
from nas.report.routing import Row, findings, mean_share, rows

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that are invisible or change other characters; they are shown as escapes."""

JOINER = "\u200d"
"""The only such character that is not escaped, since emoji contain it."""

READERS = 3
"""Number of readers that are shown for each chunk."""

LEAD_UNIT = 1 / 256
"""Unit of the stored logit differences, which have two bytes each."""

MOST_LEAD = 127.0
"""Largest stored logit difference, also used for probabilities of 0 and 1."""

WEIGHT_UNIT = 1 / 65535
"""Unit of the stored attention weights, which have two bytes each."""

NOT_ROUTED = 255
"""Byte of a snapshot for a head that did not route at that step."""

SNAPSHOT_BYTES = 2**20
"""Largest size of all snapshots of a page, before base64 turns 3 bytes into 4; fewer are shown if it is exceeded."""


def explorer(
    name: str,
    routing: RoutingMap,
    snapshots: Sequence[Snapshot],
    step: int | None = None,
    snapshot_bytes: int = SNAPSHOT_BYTES,
) -> dict[str, Any]:
    """Return the data of a routing map for the template and for the script.

    Args:
        name: prefix of its elements' ids.
        routing: routing of one sequence.
        snapshots: snapshots during training; those of another sequence are left out.
        step: training step of the routing; None for after training.
        snapshot_bytes: largest size of all snapshots.
    """
    given = rows(routing)
    starts = range(0, len(routing.tokens), routing.chunk_size)
    texts = [visible(token) for token in routing.tokens]
    chunks = [texts[start : start + routing.chunk_size] for start in starts]
    spaced = statistics.median(map(len, texts)) > 1 and not any(text != text.strip() for text in texts)
    end = "after training" if step is None else f"step {step:,}"
    shown_first = max(range(len(given)), key=lambda index: given[index].share * (1 - given[index].share))
    return {
        "name": name,
        "step": step,
        "end": end,
        "rows": given,
        "layers": [_layer(layer, list(group), routing) for layer, group in groupby(given, key=attrgetter("layer"))],
        "most_heads": max(map(len, routing.layers.values())),
        "shown_first": shown_first,
        "first": given[shown_first],
        "share": mean_share(given),
        "findings": findings(given),
        "planted": routing.planted,
        "chunk_size": routing.chunk_size,
        "token_count": len(texts),
        "chunks": chunks,
        "spaced": spaced,
        "column": _column([sum(len(text) + spaced for text in chunk) for chunk in chunks]),
        "data": _data(routing, given)
        | {"end": end, "snapshots": _snapshots(routing, given, snapshots, snapshot_bytes)},
    }


def visible(token: str) -> str:
    r"""Return the token with invisible and reordering characters escaped as ``\xNN``."""
    return "".join(_spelt(character) for character in token)


def _spelt(character: str) -> str:
    if unicodedata.category(character) not in UNSEEN or character == JOINER:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _column(lengths: list[int]) -> int:
    """Return the minimum width of a chunk's box in characters: the median length of a chunk, within [16, 32]."""
    return min(32, max(16, round(statistics.median(lengths))))


def _layer(layer: int, heads: list[Row], routing: RoutingMap) -> dict[str, Any]:
    decided_in = routing.decided_in.get(layer, routing.chunk_size)
    return {"layer": layer, "rows": heads, "share": mean_share(heads), "decided_in": decided_in}


def _data(routing: RoutingMap, given: list[Row]) -> dict[str, Any]:
    """Return the figures after training; arrays [rows, chunks] are little-endian bytes in base64."""
    token_bytes = 2 if len(routing.tokens) < 2**16 else 4
    return {
        "heads": [[row.layer, row.head] for row in given],
        "decidedIn": [routing.decided_in.get(row.layer, routing.chunk_size) for row in given],
        "chunks": routing.chunks,
        "chunkSize": routing.chunk_size,
        "tokens": len(routing.tokens),
        "planted": routing.planted,
        "codes": CODES,
        "lead": _packed([[round(lead(p) / LEAD_UNIT) for p in row.probability] for row in given], "<i2"),
        "leadUnit": LEAD_UNIT,
        "mostLead": MOST_LEAD,
        "weight": _packed([[round(255 * weight) for weight in row.weight] for row in given], "<u1"),
        "readers": _readers(routing, given, token_bytes) if routing.readers else None,
        "readersEach": READERS,
        "weightUnit": WEIGHT_UNIT,
        "tokenBytes": token_bytes,
    }


def lead(probability: float) -> float:
    """Return softmax's logit minus the other logit, in [-`MOST_LEAD`, `MOST_LEAD`]."""
    if 0 < probability < 1:
        return max(-MOST_LEAD, min(MOST_LEAD, math.log(probability) - math.log1p(-probability)))
    return math.copysign(MOST_LEAD, probability - 0.5)


def _readers(routing: RoutingMap, given: list[Row], token_bytes: int) -> dict[str, str]:
    """Return the readers by row and chunk: `READERS` token positions plus 1, 0 for none, and their weights."""
    each = [
        reader
        for row in given
        for chunk in routing.readers[row.layer][row.head]
        for reader in [*chunk[:READERS], *[None] * (READERS - len(chunk))]
    ]
    return {
        "tokens": _packed([0 if reader is None else reader.token + 1 for reader in each], f"<u{token_bytes}"),
        "weights": _packed([0 if reader is None else round(reader.weight / WEIGHT_UNIT) for reader in each], "<u2"),
    }


def _snapshots(
    routing: RoutingMap, given: list[Row], snapshots: Sequence[Snapshot], room: int
) -> dict[str, Any] | None:
    """Return steps and bytes [steps, rows, chunks] of the snapshots of this sequence; None if there are none."""
    own = [one for one in snapshots if _is_of(one, routing)]
    most = max(room // (len(given) * routing.chunks), 1)
    if not own:
        return None
    if len(own) > most:
        own = [own[round((place + 1) * len(own) / most) - 1] for place in range(most)]  # evenly, with the last
    codes = b"".join(_codes(one, row, routing) for one in own for row in given)
    return {"steps": [one.step for one in own], "codes": b64encode(codes).decode()}


def _is_of(snapshot: Snapshot, routing: RoutingMap) -> bool:
    chunks = -(-len(routing.tokens) // snapshot.chunk_size)
    return all(len(head) == chunks for heads in snapshot.layers.values() for head in heads)


def _codes(snapshot: Snapshot, row: Row, routing: RoutingMap) -> bytes:
    """Return a head's snapshot in the chunks of the map: the mean of the snapshot's chunks in each."""
    heads = snapshot.layers.get(row.layer, [])
    if row.head >= len(heads):
        return bytes([NOT_ROUTED]) * routing.chunks
    head, own, size = heads[row.head], snapshot.chunk_size, routing.chunk_size
    if own == size:
        return head
    starts = range(0, len(routing.tokens), size)
    parts = [head[start // own : max(-(-(start + size) // own), start // own + 1)] for start in starts]
    return bytes(sum(part) // len(part) for part in parts)


def _packed(values: Any, kind: str) -> str:
    return b64encode(np.array(values, dtype=kind).tobytes()).decode()
