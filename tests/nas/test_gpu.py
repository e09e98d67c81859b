"""Commands on a CUDA GPU: its precision, its speed, and that a step does not wait for it."""

import json
import signal
from collections.abc import Iterator

import pytest
import torch
import yaml

from nas import search_spaces
from nas.data import build_task
from nas.runs.folder import Run
from nas.runs.history import history
from nas.training.cuda_graphs import StaticStep
from nas.training.module import TrainingModule, TrainingStream
from tests.nas.commands import SEARCH, contents, nas
from tests.nas.commands import composed as compose
from tests.nas.training.test_cuda_graphs import trained
from tests.nas.training.test_module import made, moved

pytestmark = pytest.mark.gpu
CHUNKS = ("model.chunk_size=16", "data.length=128", "data.min_length=64", "data.block_size=16")
ON_GPU = (*(option for option in SEARCH if option != "trainer.accelerator=cpu"), *CHUNKS, "trainer.devices=1")
"""The small search on a GPU, with chunks that Triton's kernels take."""


def test_a_search_uses_the_gpu_in_bfloat16_and_can_be_resumed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step = TrainingModule.training_step
    devices = set()

    def interrupted(self: TrainingModule, batch, index: int):
        devices.update(tensor.device.type for tensor in batch if tensor is not None)
        if self.global_step == 2:
            signal.raise_signal(signal.SIGINT)
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupted)
    stopped = nas("search", *ON_GPU, f"output={tmp_path}")
    assert stopped.status == 130, stopped.err
    monkeypatch.undo()
    assert devices == {"cuda"}
    assert yaml.safe_load((stopped.run / "config.yaml").read_text())["config"]["trainer"]["precision"] == "bf16-mixed"
    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 0, resumed.err
    assert "tokens a second" in resumed.out
    metrics = json.loads((stopped.run / "metrics.json").read_text())
    assert metrics["finished"] is True
    assert metrics["tokens_per_second"] > 0
    assert [row["step"] for row in history(Run(stopped.run))] == [1, 2, 3, 4, 5, 6]
    assert contents(stopped.run).keys() >= {"model.safetensors", "report.html"}


@pytest.fixture
def an_error_to_wait() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("graphs", ["true", "false"], ids=["replayed", "computed"])
@pytest.mark.parametrize("routed", [False, True], ids=["dense", "routed"])
@pytest.mark.usefixtures("an_error_to_wait")
def test_a_step_does_not_wait_for_the_gpu(routed: bool, graphs: str) -> None:
    options = ("trainer.precision=bf16-mixed", "trainer.log_every=10", "budget.dense_until=1")
    config = compose("search", *ON_GPU, *options, f"trainer.cuda_graphs={graphs}")
    task = build_task(config.data, config.seed)
    module = TrainingModule(search_spaces.build(config.space, config.model, task.vocab_size), task, config)
    if routed:
        module.budget.begin_in_time(progress=1.0)
    module.to("cuda")
    optimizer = module.configure_optimizers()["optimizer"]
    batches = [moved(batch, module.device) for batch in TrainingStream(task, 0, 12)]
    for number, batch in enumerate(batches):
        torch.cuda.set_sync_debug_mode("default" if number < len(batches) // 2 else "error")  # compiled by then
        with module.autocast():
            loss = module.training_step(batch, number)
        optimizer.zero_grad()
        module.backward(loss)
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), 1.0)
        optimizer.step()
    torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(loss)
    assert (module._replayed is not None) == (graphs == "true")


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
    assert modules[0]._replayed is None
    assert modules[1]._replayed is not None
    assert replayed == pytest.approx(computed, rel=1e-3 if precision == "32-true" else 0.05, abs=1e-4, nan_ok=True)


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


@pytest.mark.parametrize("space", ["token_hybrid", "layer_hybrid", "chunk_size", "joint"])
@pytest.mark.parametrize("mode", ["budget.exact=true", "budget.exact=false"])
def test_every_space_ends_within_its_budget_on_the_gpu(tmp_path, space: str, mode: str) -> None:
    given = [option for option in ON_GPU if not option.startswith("+space")]
    grains = ["space.chunk_sizes=[16,32]"] if space in ("chunk_size", "joint") else []
    budget = ["budget=softmax_share", "budget.target=0.3", mode]
    ended = nas("search", f"+space={space}", *given, *grains, *budget, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    metrics = json.loads((ended.run / "metrics.json").read_text())
    assert metrics["finished"] is True
    assert metrics["budget"]["used"] <= 0.3 + 0.15, "each of a layer's decisions is a share of its own here"


def test_a_search_whose_steps_cannot_be_recorded_goes_on(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = StaticStep.run

    def waits(self: StaticStep) -> None:
        run(self)
        assert self._loss is not None
        self._loss.item()  # not permitted while a graph is recorded

    monkeypatch.setattr(StaticStep, "run", waits)
    ended = nas("search", *ON_GPU, "relaxation=gumbel", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert ended.err.startswith("warning: training goes on without CUDA graphs")
    assert ended.err.count("\n") == 1
