"""Training steps between static buffers give what steps without give, and one that cannot be recorded costs nothing.

A recording needs a GPU: here a recorded step is computed again at each replay, from the same buffers.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas.data import Scored
from nas.training.batches import TrainingStream
from nas.training.graphs import cuda_graphs as graphs
from nas.training.graphs.cuda_graphs import Graphs, StaticStep
from nas.training.module import TrainingModule
from nas.training.step.moment import Moment
from tests.nas.commands import SEARCH, nas, refusal
from tests.nas.gpu import CHUNKS, ON_GPU
from tests.nas.training.test_module import TEXT, made, moved

STEPS = 6
ROUTED = Moment(dense=False, temperature=1.0, allowed=0.5, min_multiplier=0.1)


class Recording(TorchDispatchMode):
    """Refuses what a GPU refuses while it records: tensors that are made of numbers of the host."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation is torch.ops.aten.lift_fresh.default:
            raise RuntimeError("Cannot copy between CPU and CUDA tensors during CUDA graph capture")
        return operation(*args, **(kwargs or {}))


class Rerun:
    """Stands in for `nas.training.graphs.cuda_graphs.Recorder`: warms up as it does, and replays by computing again."""

    def __init__(self, device: torch.device) -> None:
        self.recorded = 0

    def record(self, step: StaticStep) -> Callable[[], None]:
        self.recorded += 1
        for _ in range(graphs.WARM_UPS):
            step.run()
        with Recording():
            step.run()
        step.forget()
        return step.run


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are replayed, though on a CPU."""
    monkeypatch.setattr(graphs, "Recorder", Rerun)
    monkeypatch.setattr("nas.training.graphs.recorded_steps.wanted", lambda trainer, tokens: True)


def trained(module: TrainingModule, steps: int = STEPS) -> list[dict[str, float]]:
    """Figures, norms of gradients and state of the budget of each step, in the order of calls that Lightning has."""
    optimizer = module.configure_optimizers()["optimizer"]
    rows = []
    with pytest.MonkeyPatch.context() as patch:
        for number, batch in enumerate(TrainingStream(module.task, 0, steps)):
            patch.setattr(TrainingModule, "global_step", number)  # there is no trainer that knows it
            with module.autocast():
                loss = module.training_step(moved(batch, module.device), number)
            optimizer.zero_grad()
            module.backward(loss)
            gradients = {
                name: -1.0 if p.grad is None else p.grad.norm().item() for name, p in module.named_parameters()
            }
            module.configure_gradient_clipping(optimizer, 1.0)
            optimizer.step()
            state = {f"budget.{name}": x.item() for name, x in module.budget.named_buffers()}
            rows.append({"differentiated": loss.item(), **module.figures(), **gradients, **state})
    return rows


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(
    ("options", "dense_until"),
    [((), "0"), ((), "0.5"), ((), "1"), (("relaxation=gumbel",), "0.5"), (TEXT, "0.5")],
    ids=["recall-routed", "recall-both", "recall-dense", "gumbel-both", "text-both"],
)
@pytest.mark.filterwarnings("ignore:.*Cannot dispatch to fused implementation")
def test_replayed_steps_give_what_computed_ones_give(
    options: tuple[str, ...], dense_until: str, precision: str, request: pytest.FixtureRequest
) -> None:
    given = (f"budget.dense_until={dense_until}", "budget.learnt_at=0", f"trainer.precision={precision}", *options)
    computed = trained(made("cpu", *given))
    request.getfixturevalue("without_gpu")
    module = made("cpu", *given)
    replayed = trained(module)
    assert module.recorded.whole is not None
    assert module.recorded.whole._steps
    assert len(computed) == len(replayed) == STEPS
    for one, other in zip(computed, replayed, strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.usefixtures("without_gpu")
def test_there_is_a_graph_for_each_shape_dense_and_routed() -> None:
    module = made("cpu", "budget.dense_until=0.5", "budget.learnt_at=0", "trainer.steps=20")
    trained(module, steps=20)
    lengths = {batch.tokens.shape[1] for batch in TrainingStream(module.task, 0, 20)}
    assert module.recorded.whole is not None
    assert {(dense, tokens[1]) for dense, tokens, *_ in module.recorded.whole._steps} == {
        (dense, length) for dense in (True, False) for length in lengths
    }


def test_there_are_not_more_graphs_than_are_worth_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "Recorder", Rerun)
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 1)
    module = made("cpu", begun=True)
    made_for = Graphs(module.step.compute, list(module.model.parameters()), list(module.budget.buffers()))
    tokens = torch.zeros(2, 16, dtype=torch.long)
    first = Scored(tokens, None, tokens.flatten())
    second = Scored(tokens[:1], None, tokens[0])
    assert made_for.find(first, ROUTED) is made_for.find(first, ROUTED) is not None
    assert made_for.find(second, ROUTED) is None


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize("relaxation", ["gumbel", "uniform"])
def test_steps_of_a_selected_architecture_are_recorded(relaxation: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("+space=joint", f"relaxation={relaxation}", "searcher=random", "searcher.select_at=0.5")
    module = made("cpu", *given, begun=True)
    module.settle(tuple(0 for _ in module.space.options), within=True)
    trained(module)
    assert capsys.readouterr().err == ""
    assert module.recorded.whole is not None
    assert module.recorded.whole.count > 0


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: not permitted\nmore"), MemoryError("too large"), ValueError()]
)
def test_what_cannot_be_recorded_is_computed(
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    given = ("budget.dense_until=0.5", "relaxation=gumbel")
    computed = trained(made("cpu", *given))
    request.getfixturevalue("without_gpu")

    def fails(self: Rerun, step: StaticStep) -> NoReturn:
        step.run()
        raise error

    monkeypatch.setattr(Rerun, "record", fails)
    module = made("cpu", *given)
    rows = trained(module)
    assert rows == [pytest.approx(row, nan_ok=True) for row in computed]
    assert module.recorded.latest is None
    warning = capsys.readouterr().err
    assert warning.startswith("warning: training continues without CUDA graphs")
    assert warning.count("\n") == 1


@pytest.mark.usefixtures("without_gpu")
def test_a_search_with_replayed_steps_ends_and_is_resumed(tmp_path) -> None:
    ended = nas("search", *SEARCH, "budget.dense_until=0.5", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert ended.err == ""
    assert nas("search", f"resume={ended.run}").status == 0


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        (("trainer.cuda_graphs=auto",), graphs.MOST_TOKENS, True),
        (("trainer.cuda_graphs=auto",), graphs.MOST_TOKENS + 1, False),
        ((), 1, True),
        (("trainer.cuda_graphs=true",), graphs.MOST_TOKENS + 1, True),
        (("trainer.cuda_graphs=false",), 1, False),
        (("trainer.cuda_graphs=auto", "trainer.precision=16-mixed"), 1, False),
    ],
)
def test_which_steps_are_recorded(options: tuple[str, ...], size: int, expected: bool) -> None:
    class OnGpu:
        is_cuda = True

        def numel(self) -> int:
            return size

    trainer = made("cpu", "trainer.precision=32-true", *options).config.trainer
    assert graphs.wanted(trainer, OnGpu()) is expected


def test_an_unknown_choice_is_refused() -> None:
    assert "trainer.cuda_graphs=perhaps is unknown; give auto, true or false." in refusal(
        "search", *SEARCH, "trainer.cuda_graphs=perhaps"
    )


@pytest.mark.usefixtures("without_gpu")
def test_a_search_tells_once_that_it_goes_on_without_graphs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Rerun, step: StaticStep) -> NoReturn:
        raise RuntimeError("not permitted")

    monkeypatch.setattr(Rerun, "record", fails)
    ended = nas("search", *SEARCH, f"output={tmp_path}")
    assert ended.status == 0
    warned = "training continues without CUDA graphs, which is slower for small models: not permitted"
    assert ended.err == f"warning: {warned}\n"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("dense_until", ["0", "1"], ids=["routed", "dense"])
@pytest.mark.parametrize("options", [(), ("relaxation=gumbel",)], ids=["argmax", "gumbel"])
def test_a_replayed_step_gives_what_a_computed_one_gives(
    options: tuple[str, ...], dense_until: str, precision: str
) -> None:
    given = (*CHUNKS, f"budget.dense_until={dense_until}", f"trainer.precision={precision}", *options)
    modules = [made("cuda", *given, f"trainer.cuda_graphs={graphs}") for graphs in ("false", "true")]
    if dense_until == "0":
        for module in modules:
            module.budget.begin_in_time(progress=0.0)
    (computed,), (replayed,) = (trained(module, steps=1) for module in modules)
    assert modules[0].recorded.latest is None
    assert modules[1].recorded.latest is not None
    assert replayed == pytest.approx(computed, rel=1e-3 if precision == "32-true" else 0.05, abs=1e-4, nan_ok=True)


@pytest.mark.gpu
@pytest.mark.parametrize("relaxation", ["argmax_ste", "gumbel"])
def test_replayed_steps_train_as_computed_ones_do(relaxation: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = (*CHUNKS, "trainer.steps=30", "budget.dense_until=0.5", f"relaxation={relaxation}")
    options = (
        *given,
        "trainer.precision=bf16-mixed",
        "trainer.learning_rate=1e-3",
        "trainer.router_learning_rate=1e-3",
    )
    computed, replayed = (
        trained(made("cuda", *options, f"trainer.cuda_graphs={graphs}"), steps=30) for graphs in ("false", "true")
    )
    assert capsys.readouterr().err == ""
    assert [row["budget"] for row in replayed] == [row["budget"] for row in computed]
    for name, tolerance in (("loss", 0.1), ("share", 0.2), ("multiplier", 0.2)):
        assert [row[name] for row in replayed] == pytest.approx([row[name] for row in computed], abs=tolerance), name


@pytest.mark.gpu
def test_a_search_whose_steps_cannot_be_recorded_goes_on(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = StaticStep.run

    def waits(self: StaticStep) -> None:
        run(self)
        assert self._loss is not None
        self._loss.item()  # not permitted while a graph is recorded

    monkeypatch.setattr(StaticStep, "run", waits)
    ended = nas("search", *ON_GPU, "relaxation=gumbel", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert ended.err.startswith("warning: training continues without CUDA graphs")
    assert ended.err.count("\n") == 1
