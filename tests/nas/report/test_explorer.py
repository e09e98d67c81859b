"""What the page's script is told of a routing: every number, to the precision that is shown."""

import math
from base64 import b64decode
from typing import Any

import numpy as np
import pytest

from nas.evaluation.routing_map import CODES, Reader, RoutingMap, Snapshot, code
from nas.report.explorer import NOT_ROUTED, explorer, lead
from nas.report.routing import two_decimals

Weights = dict[int, list[list[float]]]
PROBABILITIES: Weights = {1: [[0.25, 0.5, 1.0], [0.0, 1e-9, 0.9]], 3: [[0.4, 0.6, 0.7], [0.1, 0.2, 0.3]]}


def given(**changed: Any) -> RoutingMap:
    """Two layers with two heads each over ten tokens in three chunks."""
    chosen = {layer: [[float(p >= 0.5) for p in head] for head in heads] for layer, heads in PROBABILITIES.items()}
    fields = {"tokens": list("abcdefghij"), "chunk_size": 4, "layers": PROBABILITIES, "chosen": chosen, "planted": None}
    return RoutingMap(**(fields | changed))


def told(routing: RoutingMap, snapshots: list[Snapshot] | None = None, **room: int) -> dict[str, Any]:
    data: dict[str, Any] = explorer("x", routing, snapshots or [], **room)["data"]
    return data


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(b64decode(text), dtype=kind)


def test_leads_give_back_the_probabilities() -> None:
    data = told(given())
    leads = numbers(data["lead"], "<i2") * data["leadUnit"]
    expected = [p for heads in PROBABILITIES.values() for head in heads for p in head]
    np.testing.assert_allclose(1 / (1 + np.exp(-leads)), expected, atol=0.0005)
    assert leads[4] == pytest.approx(math.log(1e-9), abs=0.002)
    assert [lead(p) for p in (0.0, 0.5, 1.0)] == [-127, 0, 127]
    assert numbers(data["weight"], "<u1").tolist() == [0, 255, 255, 0, 0, 255, 0, 255, 255, 0, 0, 0]
    assert data["heads"] == [[1, 0], [1, 1], [3, 0], [3, 1]]


@pytest.mark.parametrize(("tokens", "kind"), [(10, "<u2"), (70_000, "<u4")])
def test_readers_are_told_with_their_part(tokens: int, kind: str) -> None:
    size = -(-tokens // 3)
    readers = {
        layer: [[[Reader(tokens - 1, 0.5), Reader(size, 0.25)], [], [Reader(0, 1.0)] * 4]] * 2 for layer in (1, 3)
    }
    data = told(given(tokens=["t"] * tokens, chunk_size=size, readers=readers))
    first = numbers(data["readers"]["tokens"], kind)[:9]
    assert first.tolist() == [tokens, size + 1, 0, 0, 0, 0, 1, 1, 1]
    weights = numbers(data["readers"]["weights"], "<u2")[:9] * data["weightUnit"]
    np.testing.assert_allclose(weights, [0.5, 0.25, 0, 0, 0, 0, 1, 1, 1], atol=1e-4)
    assert told(given())["readers"] is None


def taken(step: int, chunk_size: int = 4, chunks: int = 3) -> Snapshot:
    return Snapshot(step, chunk_size, {1: [bytes([step + n for n in range(chunks)])] * 2})


def test_snapshots_are_told_by_step_and_where_nothing_was_routed() -> None:
    shown = told(given(), [taken(5), taken(9)])["snapshots"]
    assert shown["steps"] == [5, 9]
    nothing = [NOT_ROUTED] * 6
    assert numbers(shown["codes"], "<u1").tolist() == [*[5, 6, 7] * 2, *nothing, *[9, 10, 11] * 2, *nothing]
    assert NOT_ROUTED > CODES > code(1.0)


def test_snapshots_in_other_chunks_are_told_in_those_of_the_map() -> None:
    shown = told(given(), [taken(5, 8, 2), taken(10, 2, 5)])["snapshots"]
    codes = numbers(shown["codes"], "<u1").reshape(2, 4, 3)
    assert codes[0, 0].tolist() == [5, 5, 6]
    assert codes[1, 0].tolist() == [10, 12, 14]


def test_snapshots_of_another_sequence_are_left_out() -> None:
    assert told(given(), [taken(5, 4, 9)])["snapshots"] is None
    assert told(given())["snapshots"] is None


def test_of_more_snapshots_than_there_is_room_for_some_are_told_evenly() -> None:
    every = [taken(step) for step in range(1, 21)]
    assert told(given(), every, snapshot_bytes=4 * 12)["snapshots"]["steps"] == [5, 10, 15, 20]
    assert told(given(), every, snapshot_bytes=0)["snapshots"]["steps"] == [20]


def test_chunks_of_a_layer_that_are_larger_than_those_shown_are_told() -> None:
    assert told(given(decided_in={1: 8}))["decidedIn"] == [8, 8, 4, 4]


def test_figures_are_rounded_as_the_script_rounds_them() -> None:
    given = (0.125, 0.145, 1.005, 0.995, 0.0, 1, None)
    assert [two_decimals(x) for x in given] == ["0.13", "0.14", "1.00", "0.99", "0.00", "1.00", "\N{EN DASH}"]
