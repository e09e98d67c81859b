"""Blocks between static buffers give what blocks without give, and one that cannot be recorded costs nothing.

A recording needs a GPU: on a CPU a recorded block is computed again at each call.
"""

import warnings
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nas.evaluation.evaluate import evaluate
from nas.models.language_model import Stream, run_block
from nas.models.recording import Replay
from nas.relaxations import gumbel
from nas.supernet.architecture_logits import choices_of_layers
from nas.training import block_graphs, cuda_graphs, recorded_functions
from nas.training.block_graphs import BlockGraphs
from nas.training.module import TrainingModule
from nas.training.recorded_functions import Passes, Reading
from tests.nas.commands import SEARCH, nas
from tests.nas.gpu import CHUNKS
from tests.nas.supernet.test_thresholds import made as made_in
from tests.nas.training.test_cuda_graphs import Rerun, trained
from tests.nas.training.test_module import first_batch, moved

STEPS = 6
PAIRS = ("relaxation=darts", "relaxation.pairs=true", "space.operations=[softmax,linear,token_hybrid]")
DRAWS = {
    "pairs": PAIRS,
    "noisy pairs": (*PAIRS[1:], "relaxation=gumbel"),
    "single": ("relaxation=gdas",),
    "uniform": ("relaxation=uniform", "relaxation.router=gumbel"),
}


class Uncaptured:
    """Stands in for `nas.training.recorded_functions.FunctionRecorder`: a recorded block stays as it is."""

    recorded = 0

    def __init__(self, device: torch.device) -> None:
        pass

    def room(self) -> bool:
        return True

    def record(self, group: Hashable, function: Reading, given: Sequence[Tensor]) -> Passes:
        type(self).recorded += 1
        passes = Passes(function, given)
        with torch.random.fork_rng():
            passes.warm_up()
        return passes


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are recorded, though on a CPU."""
    monkeypatch.setattr(block_graphs, "FunctionRecorder", Uncaptured)
    monkeypatch.setattr(Uncaptured, "recorded", 0)
    monkeypatch.setattr("nas.training.module.wanted", lambda trainer, tokens: True)


def begun(device: str, draw: str, *options: str) -> TrainingModule:
    return made_in(device, "layer_hybrid", "budget.target=0.5", *DRAWS[draw], *options, begun=True)


@pytest.mark.parametrize("draw", DRAWS)
def test_recorded_blocks_give_what_computed_ones_give(draw: str, request: pytest.FixtureRequest) -> None:
    computed = trained(begun("cpu", draw), STEPS)
    request.getfixturevalue("without_gpu")
    module = begun("cpu", draw)
    recorded = trained(module, STEPS)
    assert module._blocks is not None
    assert Uncaptured.recorded == len(module._blocks._blocks) + len(module._blocks._functions)
    assert {name for name, *_ in module._blocks._functions} == {"draw", "loss"}
    assert module._graphs is None
    for one, other in zip(computed, recorded, strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.usefixtures("without_gpu")
def test_each_set_of_options_and_each_shape_is_recorded_once() -> None:
    module = begun("cpu", "uniform")
    trained(module, 20)
    assert module._blocks is not None
    keys = list(module._blocks._blocks)
    assert len(set(keys)) == len(keys) == Uncaptured.recorded - len(module._blocks._functions)
    assert {(key.layer, key.option) for key in keys} == {
        (layer, option) for layer, options in enumerate(module.space.options) for option in range(len(options))
    }


class Launches(TorchDispatchMode):
    """Counts operations that compute something, without those of recorded passes."""

    NOTHING_COMPUTED = ("detach", "select", "unbind", "empty", "_local_scalar_dense", "_record_function")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self._replaying = False

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = operation._schema.name.removeprefix("aten::").removeprefix("profiler::")
        if not self._replaying and not name.startswith(self.NOTHING_COMPUTED):
            self.names.append(name)
        return operation(*args, **(kwargs or {}))

    def replay(self, run: Replay) -> None:
        self.names.append("replay")
        self._replaying = True
        run()
        self._replaying = False


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize("draw", DRAWS)
def test_a_step_launches_little_beside_its_graphs(draw: str) -> None:
    """On a GPU each of them takes the host longer than most of these kernels run."""
    module, launches = begun("cpu", draw), Launches()
    batch = first_batch(module)
    torch.manual_seed(0)
    module.training_step(batch, 0)
    assert module._blocks is not None
    for passes in (*module._blocks._functions.values(), *(passes for passes, _ in module._blocks._blocks.values())):
        passes.replay_forward = partial(launches.replay, passes.replay_forward)
        passes.replay_backward = partial(launches.replay, passes.replay_backward)
    module.zero_grad()
    recorded = Uncaptured.recorded
    with launches:
        module.backward(module.training_step(batch, 0))
    assert Uncaptured.recorded == recorded, "the same options are drawn again"
    layers = len(module.space.options)
    assert launches.names.count("replay") in (2 * layers + 3, 2 * layers + 4), "no backward pass of a uniform draw"
    assert len(launches.names) <= 6 * layers + 20, launches.names


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize("lacking", ["room", "number"])
def test_blocks_without_room_are_computed(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking == "room":
        monkeypatch.setattr(Uncaptured, "room", lambda self: False)
    else:
        monkeypatch.setattr(block_graphs, "MOST_RECORDINGS", 0)
    rows = trained(begun("cpu", "pairs"), STEPS)
    assert Uncaptured.recorded == 0
    monkeypatch.undo()
    assert rows == [pytest.approx(row, nan_ok=True) for row in trained(begun("cpu", "pairs"), STEPS)]


@pytest.mark.usefixtures("without_gpu")
def test_a_search_says_once_that_it_goes_on_without_graphs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> NoReturn:
        raise RuntimeError("not permitted\nmore")

    monkeypatch.setattr(Uncaptured, "record", fails)
    monkeypatch.setattr(cuda_graphs, "Recorder", Rerun)
    options = ("+space=layer_hybrid", *SEARCH[1:], "budget.target=0.5", "searcher=random", "searcher.evaluations=2")
    ended = nas("search", *options, f"output={tmp_path}")
    assert ended.status == 0
    warned = "training continues without CUDA graphs of blocks, which is slower for small models: not permitted"
    assert ended.err == f"warning: {warned}\n"


@pytest.mark.usefixtures("without_gpu")
def test_recorded_blocks_score_candidates_as_computed_ones_do() -> None:
    module = begun("cpu", "uniform")
    batches, blocks = module.task.validation_batches(), BlockGraphs(module.device)
    for code in ((0,) * len(module.space.options), (1,) * len(module.space.options)):
        given = (module.model, batches, "recall", module.supernet.policy, choices_of_layers(code))
        assert evaluate(*given, blocks) == evaluate(*given)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("draw", DRAWS)
def test_a_recorded_block_gives_what_a_computed_one_gives(
    draw: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_functions, "FREE_MEMORY", 0.0)  # other tests may share the GPU
    given = (*CHUNKS, f"trainer.precision={precision}")
    modules = [begun("cuda", draw, *given, f"trainer.cuda_graphs={graphs}") for graphs in ("false", "true")]
    computed, recorded = (trained(module, STEPS) for module in modules)
    assert modules[0]._blocks is None
    assert modules[1]._blocks is not None
    assert modules[1]._blocks._blocks
    tolerance = 1e-3 if precision == "32-true" else 0.05
    assert recorded[0] == pytest.approx(computed[0], rel=tolerance, abs=1e-4, nan_ok=True)
    losses = [[row["loss"] for row in rows] for rows in (computed, recorded)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("draw", DRAWS)
def test_the_host_waits_once_in_a_step(draw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_functions, "FREE_MEMORY", 0.0)
    module = begun("cuda", draw, *CHUNKS, "trainer.cuda_graphs=true")
    batch = moved(first_batch(module), module.device)

    def step() -> None:
        with module.autocast():
            loss = module.training_step(batch, 0)
        module.zero_grad()
        module.backward(loss)

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()  # draws what the first step drew
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]
    assert len(waits) == 1, waits


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
    x = torch.randn(2, 128, module.model.architecture.width, device="cuda", requires_grad=True)
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


@pytest.mark.usefixtures("without_gpu")
def test_recordings_after_training_do_not_share_its_memory_pools() -> None:
    module = begun("cpu", "uniform")
    trained(module, 1)
    assert module._blocks is not None
    recorder = module._blocks._recorder
    module.on_train_end()
    assert module._blocks._recorder is not recorder


@pytest.mark.gpu
def test_candidates_are_scored_by_graphs_after_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of the last step are in memory of its graphs."""
    monkeypatch.setattr(recorded_functions, "FREE_MEMORY", 0.0)
    module = begun("cuda", "uniform", *CHUNKS, "trainer.cuda_graphs=true")
    trained(module, STEPS)
    module.on_train_end()
    batches = module.task.validation_batches()
    blocks = module.block_graphs(batches[0].tokens.to(module.device))
    assert blocks is not None
    code = (0,) * len(module.space.options)
    evaluate(module.model, batches, "recall", module.supernet.policy, choices_of_layers(code), blocks)
    assert len(blocks._blocks) == len(code)


@pytest.mark.gpu
def test_recorded_blocks_score_candidates_on_a_gpu_as_computed_ones_do() -> None:
    module = begun("cuda", "uniform", *CHUNKS, "trainer.precision=32-true")
    batches, blocks = module.task.validation_batches(), BlockGraphs(module.device)
    for code in ((0,) * len(module.space.options), (1,) * len(module.space.options)):
        given = (module.model, batches, "recall", module.supernet.policy, choices_of_layers(code))
        for _ in range(2):
            assert evaluate(*given, blocks).loss == pytest.approx(evaluate(*given).loss, rel=1e-4)
