"""Snapshots of the routing of one sequence during training, in the run folder: to see afterwards how it came about."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any

from nas.data import Task
from nas.data.batch import planted_chunks
from nas.evaluation.routing_map import CODES, RoutingMap, Snapshot, code
from nas.runs.folder import Run, read_json

SNAPSHOTS = "routing.json"
MOST = 64
"""Snapshots of a run, the last aside: as many as a slider tells apart."""


def is_kept(step: int, validate_every: int, steps: int) -> bool:
    """Whether the validation after a step leaves a snapshot: spread evenly over training, and the last one.

    A matter of the options alone, so that a resumed run keeps those that an uninterrupted one keeps.
    """
    apart = validate_every * max(-(-(steps // validate_every) // MOST), 1)
    return step >= steps or step % apart == 0


def snapshot_of(routing: RoutingMap, step: int) -> Snapshot:
    """The probabilities of a routing map, a byte each."""
    layers = {layer: [bytes(map(code, head)) for head in heads] for layer, heads in routing.layers.items()}
    return Snapshot(step, routing.chunk_size, layers)


def map_of(taken: Snapshot, task: Task) -> RoutingMap:
    """The routing that a snapshot has kept, of the first sequence to validate on.

    ValueError where it is of another sequence.
    """
    batch, size = task.validation_batches()[0], taken.chunk_size
    return RoutingMap(
        tokens=[task.token_text(token) for token in batch.tokens[0].tolist()],
        chunk_size=size,
        layers=_each(taken, lambda code: (code + 0.5) / CODES),
        chosen=_each(taken, lambda code: float(2 * code >= CODES)),
        planted=None if batch.planted is None else planted_chunks(batch.planted[:1], size)[0].tolist(),
    )


def _each(taken: Snapshot, of: Callable[[int], float]) -> dict[int, list[list[float]]]:
    return {layer: [list(map(of, head)) for head in heads] for layer, heads in taken.layers.items()}


def add_snapshot(run: Run, taken: Snapshot) -> None:
    """Write a snapshot behind those of earlier steps. What a killed run had of later steps goes: they come again."""
    earlier = [other for other in read_snapshots(run) if other.step < taken.step]
    run.write_json(SNAPSHOTS, [_packed(one) for one in (*earlier, taken)])


def read_snapshots(run: Run) -> list[Snapshot]:
    """The snapshots of a run by step; none where the file is missing or damaged."""
    try:
        return [_unpacked(one) for one in read_json(run.path / SNAPSHOTS) or []]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _packed(taken: Snapshot) -> dict[str, Any]:
    layers = {layer: [b64encode(head).decode() for head in heads] for layer, heads in taken.layers.items()}
    return {"step": taken.step, "chunk_size": taken.chunk_size, "layers": layers}


def _unpacked(stored: dict[str, Any]) -> Snapshot:
    layers = {int(layer): _heads(heads) for layer, heads in stored["layers"].items()}
    taken = Snapshot(int(stored["step"]), int(stored["chunk_size"]), layers)
    if taken.chunk_size < 1 or not layers:
        raise ValueError("it shows nothing")
    return taken


def _heads(stored: Sequence[str]) -> list[bytes]:
    return [b64decode(head, validate=True) for head in stored]
