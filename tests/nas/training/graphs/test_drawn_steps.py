"""Steps as chains of recorded parts give what computed steps give, and one that cannot be recorded costs nothing."""

import warnings
from functools import partial
from typing import Any, NoReturn

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas.models.recording import Replay
from nas.training.graphs import cuda_graphs, recorded_functions
from nas.training.module import TrainingModule
from tests.nas.commands import SEARCH, nas
from tests.nas.gpu import CHUNKS
from tests.nas.supernet.test_thresholds import made as made_in
from tests.nas.training.graphs.test_cuda_graphs import Rerun, trained
from tests.nas.training.graphs.uncaptured import Uncaptured, without_gpu
from tests.nas.training.test_module import first_batch, moved

__all__ = ["without_gpu"]

STEPS = 6
PAIRS = ("relaxation=darts", "relaxation.pairs=true", "space.operations=[softmax,linear,token_hybrid]")
DRAWS = {
    "pairs": PAIRS,
    "noisy pairs": (*PAIRS[1:], "relaxation=gumbel"),
    "single": ("relaxation=gdas",),
    "uniform": ("relaxation=uniform", "relaxation.router=gumbel"),
}


def begun(device: str, draw: str, *options: str) -> TrainingModule:
    return made_in(device, "layer_hybrid", "budget.target=0.5", *DRAWS[draw], *options, begun=True)


def keys_of(module: TrainingModule) -> list[Any]:
    """The recorded parts of a module's steps: "begin", "end", and blocks by layer and what the layer computes."""
    assert module.recorded.drawn is not None
    return [part for _, part in module.recorded.drawn._recordings._found]


@pytest.mark.parametrize(
    ("draw", "options"),
    [
        *((draw, ()) for draw in DRAWS),
        ("pairs", ("model.tie_embeddings=true", "budget.exact=true")),
        ("pairs", ("budget.distillation=1", "budget.dense_until=1", "budget.tighten_over=1")),
    ],
)
def test_recorded_blocks_give_what_computed_ones_give(
    draw: str, options: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    computed = trained(begun("cpu", draw, *options), STEPS)
    request.getfixturevalue("without_gpu")
    module = begun("cpu", draw, *options)
    recorded = trained(module, STEPS)
    assert Uncaptured.recorded == len(keys_of(module))
    assert {"begin", "end"} < set(keys_of(module))
    assert module.recorded.whole is None
    for one, other in zip(computed, recorded, strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True)


def test_a_dense_phase_that_draws_is_recorded_apart_from_routed_steps(request: pytest.FixtureRequest) -> None:
    options = (*DRAWS["uniform"], "budget.start=drawn", "searcher=random", "searcher.select_at=0.5")

    def both_phases() -> tuple[TrainingModule, list[dict[str, float]]]:
        module = made_in("cpu", "layer_hybrid", "budget.target=0.5", *options, begun=True)
        dense = trained(module, 3)
        assert module.budget.dense
        assert [row["share"] for row in dense] == [1.0] * 3
        module.budget.begin(0.5)
        return module, dense + trained(module, 3)

    _, computed = both_phases()
    request.getfixturevalue("without_gpu")
    module, recorded = both_phases()
    assert module.recorded.whole is None
    assert module.recorded.drawn is not None
    assert {dense for dense, *_ in module.recorded.drawn._steps} == {True, False}
    for one, other in zip(computed, recorded, strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize("relaxation", ["darts", "uniform"])
def test_steps_are_recorded_anew_once_a_dense_phase_draws(relaxation: str) -> None:
    """Otherwise those of a relaxation that draws nothing on the host would go on as before."""
    options = ("budget.start=drawn", "budget.dense_until=0.5", "budget.learnt_at=0", "searcher=random")
    given = ("budget.target=0.5", f"relaxation={relaxation}", "searcher.select_at=0.9", "trainer.steps=8", *options)
    module = made_in("cpu", "layer_hybrid", *given)
    trained(module, 3)
    first = module.recorded.whole
    assert first is not None
    assert not module.budget.draws_dense
    trained(module, 6)
    assert module.budget.draws_dense
    drawn = module.recorded.whole if relaxation == "darts" else module.recorded.drawn
    assert drawn not in (None, first)


@pytest.mark.usefixtures("without_gpu")
def test_each_set_of_options_and_each_shape_is_recorded_once() -> None:
    module = begun("cpu", "uniform")
    trained(module, 20)
    assert module.recorded.drawn is not None
    assert len(keys_of(module)) == module.recorded.drawn.count == Uncaptured.recorded
    blocks = [key for key in keys_of(module) if key not in ("begin", "end")]
    assert {(layer, choice.option) for layer, choice in blocks} == {
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
    assert module.recorded.drawn is not None
    for (_, part), passes in module.recorded.drawn._recordings._found.items():
        passes.forward = partial(launches.replay, passes.forward)
        if part != "end":  # its graph has both passes
            passes.backward = partial(launches.replay, passes.backward)
    module.zero_grad()
    recorded = Uncaptured.recorded
    with launches:
        module.backward(module.training_step(batch, 0))
    assert Uncaptured.recorded == recorded, "the same options are drawn again"
    layers = len(module.space.options)
    assert launches.names.count("replay") == 2 * layers + 3
    on_host = 6 * layers if draw == "uniform" else 0  # draws on the CPU
    of_logits = 0 if draw == "uniform" else layers  # the draw and the expected cost have a gradient for them
    inputs = 3 + 3  # of the batch, and of the schedules
    assert len(launches.names) == 2 * layers + 3 + inputs + on_host + of_logits, str(launches.names)


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize("lacking", ["room", "number"])
def test_blocks_without_room_are_computed(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking == "room":
        monkeypatch.setattr(Uncaptured, "room", lambda self: False)
    else:
        monkeypatch.setattr(recorded_functions, "MOST_RECORDINGS", 0)
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
    warned = "the search continues without CUDA graphs of blocks, which is slower for small models: not permitted"
    assert ended.err == f"warning: {warned}\n"


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
    assert modules[0].recorded.drawn is None
    assert modules[1].recorded.drawn is not None
    assert modules[1].recorded.drawn.count > 2
    tolerance = 1e-3 if precision == "32-true" else 0.05
    assert recorded[0] == pytest.approx(computed[0], rel=tolerance, abs=1e-4, nan_ok=True)
    losses = [[row["loss"] for row in rows] for rows in (computed, recorded)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("draw", DRAWS)
def test_the_host_waits_once_in_a_step_for_what_depends_on_logits(draw: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert len(waits) == (draw != "uniform"), waits
