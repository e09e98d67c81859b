"""Snapshots of the routing of one sequence during training, stored in the run folder for the report."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any

from nas.data import Task
from nas.data.batch import planted_chunks
from nas.data.shards.vocabulary import token_texts
from nas.evaluation.routing_map import CODES, RoutingMap, Snapshot, code
from nas.runs.folder import Run, read_json

SNAPSHOTS = "routing.json"
MOST = 64
"""Largest number of snapshots of a run before the last one: the resolution of the report's slider."""


def is_kept(step: int, validate_every: int, steps: int) -> bool:
    """Return whether the validation after a step saves a snapshot: at even distances, and at the last step.

    The result depends on the options alone, so that a resumed run saves the same snapshots as an uninterrupted run.
    """
    apart = validate_every * max(-(-(steps // validate_every) // MOST), 1)
    return step >= steps or step % apart == 0


def snapshot_of(routing: RoutingMap, step: int) -> Snapshot:
    """Return the probabilities of a routing map, one byte each."""
    layers = {layer: [bytes(map(code, head)) for head in heads] for layer, heads in routing.layers.items()}
    return Snapshot(step, routing.chunk_size, layers)


def map_of(taken: Snapshot, task: Task) -> RoutingMap:
    """Return the routing of a snapshot, on the first validation sequence.

    Raises:
        ValueError: the snapshot is of another sequence.
    """
    batch, size = task.validation_batches()[0].longest_document(), taken.chunk_size
    return RoutingMap(
        tokens=token_texts(task, batch.tokens[0].tolist()),
        chunk_size=size,
        layers=_each(taken, lambda code: (code + 0.5) / CODES),
        chosen=_each(taken, lambda code: float(2 * code >= CODES)),
        planted=None if batch.planted is None else planted_chunks(batch.planted, size)[0].tolist(),
    )


def _each(taken: Snapshot, of: Callable[[int], float]) -> dict[int, list[list[float]]]:
    return {layer: [list(map(of, head)) for head in heads] for layer, heads in taken.layers.items()}


def add_snapshot(run: Run, taken: Snapshot) -> None:
    """Append a snapshot to those of earlier steps, and drop later ones, which a resumed run saves again."""
    earlier = [other for other in read_snapshots(run) if other.step < taken.step]
    run.write_json(SNAPSHOTS, [_packed(one) for one in (*earlier, taken)])


def read_snapshots(run: Run) -> list[Snapshot]:
    """Return the snapshots of a run by step; empty if the file is missing or damaged."""
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
        raise ValueError("the snapshot has no layer or no chunk size")
    return taken


def _heads(stored: Sequence[str]) -> list[bytes]:
    return [b64decode(head, validate=True) for head in stored]
