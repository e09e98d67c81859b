"""A point of the curve: the figures of a model under a routing."""

import pytest

from nas.budget.cost import kv_bytes
from nas.results.opened import open_run
from nas.shares.points import Wanted, hash_of, measured
from tests.nas.commands import Ended


def test_a_point_has_the_cost_of_its_share_at_its_length(search: Ended) -> None:
    opened = open_run("run", str(search.run))
    batches = opened.task.validation_batches(2)
    kept = measured(Wanted(opened=opened, share=1.0), opened, batches, 2)
    dropped = measured(Wanted(opened=opened, share=0.0), opened, batches, 2)
    assert (kept.share, dropped.share, kept.tokens) == (1.0, 0.0, 128)
    architecture = opened.trained.architecture
    assert kept.kv_bytes == kv_bytes(architecture, {}, 128)
    assert dropped.kv_bytes == kv_bytes(architecture, dict.fromkeys(architecture.routed_layers, 0.0), 128)
    random = measured(Wanted(opened=opened, share=1.0, as_point=kept), opened, batches, 2)
    assert (random.quality, random.random, random.threshold) == (kept.quality, True, None)
    wanted = [Wanted(opened=opened, share=1.0), Wanted(opened=opened, share=1.0, as_point=kept), Wanted(opened=opened)]
    hashes = [hash_of(batches), hash_of(opened.task.validation_batches()), hash_of(batches[:1])]
    assert kept.key == wanted[0].key(hashes[0])
    assert random.key == wanted[1].key(hashes[0])
    assert len({one.key(sequences) for one in wanted for sequences in hashes}) == 9
    batches[0].tokens[0, 0] += 1  # as if the data of the run had changed
    assert hash_of(batches) != hashes[0]
    difference = kept.against(dropped)
    assert difference.mean == pytest.approx(kept.quality - dropped.quality)
