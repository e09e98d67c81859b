"""The rows beside what was searched."""

import pytest

from nas.results.controls import FOUND, _architectures
from tests.nas.supernet.test_thresholds import made


@pytest.mark.parametrize(
    ("space", "names"),
    [
        ("layer_hybrid", {FOUND, "random, no dearer", "dearest", "cheapest"}),
        ("chunk_size", {FOUND, "random, no dearer", "cheapest"}),  # where all is kept every chunk size costs the same
    ],
)
def test_no_architecture_has_two_rows(space: str, names: set[str]) -> None:
    grains = ["space.chunk_sizes=[4,8,16]", "budget.target=6000"] if space == "chunk_size" else ["budget.target=0.5"]
    module = made("cpu", space, *grains, "model.layers=3")
    module.choices.logits["0"].data[-1] = 3.0
    rows = _architectures(module)
    assert rows[FOUND] == module.found
    assert len(set(rows.values())) == len(rows)
    assert rows.keys() <= names
    limit = module.choices.cost_of(module.cost, module.found)
    if "random, no dearer" in rows:
        assert module.choices.cost_of(module.cost, rows["random, no dearer"]) <= limit + 1e-6
