"""Snapshots of routing during training: which are kept, what they hold, and what of them survives a kill."""

from itertools import pairwise
from pathlib import Path

import pytest

from nas.evaluation.routing_map import CODES, RoutingMap, Snapshot, code
from nas.runs.folder import Run
from nas.runs.snapshots import MOST, SNAPSHOTS, add_snapshot, is_kept, read_snapshots, snapshot_of
from tests.nas.commands import SEARCH, nas


def taken(step: int) -> Snapshot:
    return Snapshot(step, 8, {1: [bytes([0, step, 253])]})


@pytest.mark.parametrize("validate_every", [1, 7, 50])
@pytest.mark.parametrize("steps", [6, 64, 65, 1000, 12_345])
def test_those_that_are_kept_are_spread_evenly_and_not_too_many(steps: int, validate_every: int) -> None:
    validated = [step for step in range(1, steps + 1) if step % validate_every == 0 or step == steps]
    kept = [step for step in validated if is_kept(step, validate_every, steps)]
    assert len(kept) <= MOST + 1
    assert len(kept) >= min(MOST // 2, len(validated))
    assert kept[-1] == steps
    assert len({after - before for before, after in pairwise(kept[:-1])}) <= 1


def test_one_byte_tells_what_the_router_chooses() -> None:
    half = 0.5 - 1e-12
    assert [code(p) for p in (-1e-9, 0, half, 0.5, 1, 1 + 1e-9)] == [0, 0, 126, 127, 253, 253]
    assert max(abs((code(p / 999) + 0.5) / CODES - p / 999) for p in range(1000)) < 0.002


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert read_snapshots(run) == []
    for step in (3, 6, 9):
        add_snapshot(run, taken(step))
    assert read_snapshots(run) == [taken(3), taken(6), taken(9)]


def test_what_came_after_the_step_a_run_goes_on_from_comes_again_and_only_once(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (3, 6, 9, 6):
        add_snapshot(run, taken(step))
    assert [one.step for one in read_snapshots(run)] == [3, 6]


@pytest.mark.parametrize(
    "damaged",
    ["", "[", "{}", "[1]", '[{"step": 1}]', '[{"step": 1, "chunk_size": 8, "layers": {"1": ["!"]}}]', "7"],
)
def test_a_damaged_file_has_none(tmp_path: Path, damaged: str) -> None:
    run = Run(tmp_path)
    (tmp_path / SNAPSHOTS).write_text(damaged)
    assert read_snapshots(run) == []
    add_snapshot(run, taken(3))
    assert read_snapshots(run) == [taken(3)]


def test_a_map_becomes_its_probabilities() -> None:
    weights = {2: [[0.1, 0.9]]}
    shown = RoutingMap(["t"] * 7, 4, weights, weights, None)
    assert snapshot_of(shown, 5) == Snapshot(5, 4, {2: [bytes([25, 228])]})


def test_a_search_leaves_them_at_its_validations(tmp_path: Path) -> None:
    run = Run(nas("search", *SEARCH, f"output={tmp_path}").run)
    snapshots = read_snapshots(run)
    assert [one.step for one in snapshots] == [3, 6]
    assert [[len(head) for head in heads] for heads in snapshots[0].layers.values()] == [[8, 8], [8, 8]]
