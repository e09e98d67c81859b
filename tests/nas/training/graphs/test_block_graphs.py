"""Recorded blocks score candidates as computed ones do.

A recording needs a GPU: on a CPU a recorded block is computed again at each call.
"""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from nas.evaluation.evaluate import evaluate
from nas.models.language_model import Stream, run_block
from nas.relaxations import gumbel
from nas.runs.folder import Run
from nas.searchers.select import select
from nas.supernet.draws import choices_of_layers
from nas.training.graphs import recorded_functions
from nas.training.graphs.block_graphs import BlockGraphs
from tests.nas.gpu import CHUNKS
from tests.nas.training.graphs.test_cuda_graphs import trained
from tests.nas.training.graphs.test_drawn_steps import STEPS, begun
from tests.nas.training.graphs.uncaptured import Uncaptured, without_gpu
from tests.nas.training.test_module import first_batch

__all__ = ["without_gpu"]


@pytest.mark.usefixtures("without_gpu")
def test_recorded_blocks_score_candidates_as_computed_ones_do() -> None:
    module = begun("cpu", "uniform")
    batches, blocks = module.task.validation_batches(), BlockGraphs(module.device)
    layers = len(module.space.options)
    for code in ((0,) * layers, (1,) * layers, (0,) * layers):
        given = (module.model, batches, "recall", module.supernet.policy, choices_of_layers(code))
        assert evaluate(*given, blocks) == evaluate(*given)
    assert Uncaptured.recorded == blocks.count == 2 * layers, "each option is recorded once"


@pytest.mark.usefixtures("without_gpu")
def test_a_searcher_scores_candidates_with_recorded_blocks(tmp_path: Path) -> None:
    module = begun("cpu", "uniform", "searcher=random", "searcher.evaluations=2", "searcher.batches=1")
    selected = select(module, Run(tmp_path), Console(quiet=True))
    assert selected is not None
    assert selected.searched.evaluations == 2
    assert Uncaptured.recorded >= len(module.space.options)


@pytest.mark.usefixtures("without_gpu")
def test_scoring_has_recordings_of_its_own() -> None:
    """Recordings of training share a memory pool with the last gradients, in which nothing else can be recorded."""
    module = begun("cpu", "uniform")
    trained(module, 1)
    blocks = module.recorded.scoring_run(module.step, first_batch(module).tokens)
    assert isinstance(blocks, BlockGraphs)
    assert module.recorded.drawn is not None
    assert blocks._recordings is not module.recorded.drawn._recordings
    assert blocks.count == 0


@pytest.mark.gpu
def test_a_recording_changes_no_random_number() -> None:
    """A resumed run records blocks at other steps than the first one did."""
    module = begun("cuda", "uniform", *CHUNKS, "trainer.precision=32-true")
    (layer, option), *_ = (
        (layer, option)
        for layer, options in enumerate(module.space.options)
        for option, own in enumerate(options)
        if own.routed
    )
    x = torch.randn(2, 128, module.model.architecture.width, device="cuda")
    blocks, results = BlockGraphs(x.device), []
    for run in (run_block, blocks, blocks):
        torch.cuda.manual_seed(3)
        choice = choices_of_layers((option,))[0]
        block = module.model.blocks[layer]
        stream, (routing,) = run(layer, block, Stream(x), lambda _, logits: gumbel(logits, 1.0), choice)
        results.append((stream.total.clone(), routing.weights.clone(), torch.rand(1, device="cuda")))
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            torch.testing.assert_close(other, one)


@pytest.mark.gpu
def test_candidates_are_scored_by_graphs_after_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of the last step are in memory of its graphs."""
    monkeypatch.setattr(recorded_functions, "FREE_MEMORY", 0.0)
    module = begun("cuda", "uniform", *CHUNKS, "trainer.cuda_graphs=true")
    trained(module, STEPS)
    module.on_train_end()
    batches = module.task.validation_batches()
    blocks = module.recorded.scoring_run(module.step, batches[0].tokens.to(module.device))
    assert isinstance(blocks, BlockGraphs)
    assert module.recorded.drawn is None, "its pools hold the gradients, so that scoring needs others"
    code = (0,) * len(module.space.options)
    evaluate(module.model, batches, "recall", module.supernet.policy, choices_of_layers(code), blocks)
    assert blocks.count == len(code)


@pytest.mark.gpu
def test_recorded_blocks_score_candidates_on_a_gpu_as_computed_ones_do() -> None:
    module = begun("cuda", "uniform", *CHUNKS, "trainer.precision=32-true")
    batches, blocks = module.task.validation_batches(), BlockGraphs(module.device)
    for code in ((0,) * len(module.space.options), (1,) * len(module.space.options)):
        given = (module.model, batches, "recall", module.supernet.policy, choices_of_layers(code))
        for _ in range(2):
            assert evaluate(*given, blocks).loss == pytest.approx(evaluate(*given).loss, rel=1e-4)
