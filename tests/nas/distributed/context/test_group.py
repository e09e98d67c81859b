"""The place of a process among those that share a sequence, and a search on stretches."""

import copy
from pathlib import Path

import pytest
import torch

from nas.distributed.context.group import Context
from nas.runs.folder import Run
from nas.runs.history import history
from tests.nas.commands import SEARCH, Ended, nas
from tests.nas.distributed.context.conftest import Found
from tests.nas.distributed.context.sharing import ON


def test_a_search_of_two_processes_is_that_of_one(found: Found, search: Ended) -> None:
    rows, expected = history(Run(found.run)), history(Run(search.run))
    assert len(rows) == len(expected) == 6
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, abs=1e-5)


@pytest.mark.gpu
def test_a_search_of_two_gpus_is_that_of_one(found_on_gpus: Found, tmp_path: Path) -> None:
    alone = nas("search", *SEARCH, *ON["cuda"], "trainer.cuda_graphs=false", f"output={tmp_path}")
    rows, expected = history(Run(found_on_gpus.run)), history(Run(alone.run))
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected], rel=0.01)


def test_functions_of_all_chunks_are_those_of_the_sequence() -> None:
    whole = torch.arange(12.0).view(1, 6, 2)
    numbered = torch.arange(6.0)[:, None]
    for rank in range(3):
        own = whole[:, 2 * rank : 2 * rank + 2]
        context = Context(rank, 3)
        assert context.start(own) == 2 * rank
        found = context.of_all_chunks(lambda x: x * numbered, own)
        assert torch.equal(found, (whole * numbered)[:, 2 * rank : 2 * rank + 2])
        assert copy.deepcopy(context) is context
