"""Which steps of a training are recorded."""

import pytest

from nas.evaluation.evaluate import evaluate
from nas.training.graphs.block_graphs import BlockGraphs
from tests.nas.data.packed import lines
from tests.nas.training.graphs.test_cuda_graphs import trained
from tests.nas.training.graphs.uncaptured import Uncaptured, without_gpu
from tests.nas.training.test_module import TEXT, first_batch, made

__all__ = ["lines", "without_gpu"]


@pytest.mark.usefixtures("lines", "without_gpu")
def test_steps_on_packed_documents_are_not_recorded() -> None:
    module = made("cpu", "+space=joint", "model.layers=2", *TEXT, "relaxation=gdas", begun=True)
    loss = module.training_step(first_batch(module), 0)
    module.backward(loss)
    assert module.recorded.count == Uncaptured.recorded == 0
    blocks = module.recorded.scoring_run(module.step, first_batch(module).tokens)
    assert isinstance(blocks, BlockGraphs)
    policy, choices = module.supernet.policy, module.routes.present
    given = (module.model, module.task.validation_batches(), "bits_per_byte", policy, choices)
    assert evaluate(*given, blocks) == evaluate(*given)
    assert blocks.count == 0


def test_a_cpu_has_no_graphs() -> None:
    module = made("cpu", "trainer.cuda_graphs=true")
    trained(module, steps=1)
    assert module.recorded.whole is None
