"""A training step: that it waits for nothing, and that bfloat16 does it no harm.

The tensors of a step are on the meta device here: like a GPU's they are apart from those of the CPU, and to read one,
which would mean to wait for a GPU, is an error.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nas import search_spaces
from nas.data import Scored, build_task
from nas.data.seeding import seed_default
from nas.errors import UserError
from nas.models.operations.window import Window
from nas.training.batches import TrainingStream
from nas.training.module import TrainingModule
from nas.training.updates.optimizer import routers_of
from tests.nas.commands import SEARCH, composed, nas
from tests.nas.data.packed import lines
from tests.nas.gpu import ON_GPU

__all__ = ["lines"]

TEXT = ("data=text", "data.length=64")
NEEDLE = ("data=needle", "data.batch_size=2", "data.validation_batches=2")


def made(device: str, *options: str, begun: bool = False) -> TrainingModule:
    """A module of a small search, with routing begun or not."""
    data, space = (any(option.startswith(start) for option in options) for start in ("data=", "+space="))
    left_out = (*(["data."] if data else []), *(["+space="] if space else []))
    given = [option for option in SEARCH if not option.startswith(left_out)]
    config = composed("search", *given, *options)
    task = build_task(config.data, config.seed)
    module = TrainingModule(search_spaces.build(config.space, config.model, task.vocab_size), task, config)
    if begun:
        module.budget.begin_in_time(progress=1.0)
    return module.to(device)


def moved(batch: Scored, device: torch.device) -> Scored:
    return Scored(*(None if x is None else x.to(device) for x in batch))  # type: ignore[arg-type]


def first_batch(module: TrainingModule) -> Scored:
    return moved(next(iter(TrainingStream(module.task, 0, 1))), module.device)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("relaxation=gumbel",),
        ("model.rope_base=100",),
        TEXT,
        NEEDLE,
        ("budget.route_dropout_over=0.5", "budget.by_layer=true", "budget.loss_margin=0.1"),
    ],
    ids=["recall", "gumbel", "rotary", "text", "needle", "remedies"],
)
@pytest.mark.parametrize("routed", [False, True], ids=["dense", "routed"])
def test_a_step_reads_nothing_back(routed: bool, options: tuple[str, ...]) -> None:
    module = made("meta", "budget.dense_until=1", "trainer.log_every=10", *options, begun=routed)
    optimizer = module.configure_optimizers()["optimizer"]
    assert module.budget.dense is not routed
    module.training_step(first_batch(module), 0).backward()
    torch.nn.utils.clip_grad_norm_(module.model.parameters(), 1.0)
    optimizer.step()
    assert set(module.latest) == {"loss", module.task.quality, "share", "budget", "multiplier"}
    with pytest.raises(RuntimeError, match="meta"):
        module.figures()


def test_checkpoints_keep_the_names_of_architecture_logits_in_earlier_versions() -> None:
    module = made("cpu", "space=joint", "space.chunk_sizes=[8,16]", "model.layers=2")
    names = {name for name in module.state_dict() if not name.startswith(("model.", "budget."))}
    assert names == {"choices.shares", "choices.logits.0", "choices.logits.1"}
    assert dict(module.architecture_logits.named_parameters()).keys() == {"logits.0", "logits.1"}


def test_the_budget_looks_at_the_loss_of_logged_steps() -> None:
    module = made("meta", "budget.dense_until=1", "trainer.log_every=1")
    with pytest.raises(RuntimeError, match="meta"):
        module.training_step(first_batch(module), 0)


def test_a_fused_optimiser_as_on_a_gpu_clips_in_mixed_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *groups, **options: adamw(*groups, **(options | {"fused": True})))
    ended = nas("search", *SEARCH, "trainer.precision=bf16-mixed", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert nas("search", f"resume={ended.run}").status == 0


def test_seeding_is_that_of_torch() -> None:
    draws = []
    for _ in range(2):
        seed_default(torch.device("cpu"), 0, "step", 3)
        draws.append(torch.rand(4))
    assert torch.equal(*draws)


@pytest.fixture
def an_error_to_wait() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", ["true", "false"], ids=["replayed", "computed"])
@pytest.mark.parametrize("routed", [False, True], ids=["dense", "routed"])
@pytest.mark.usefixtures("an_error_to_wait")
def test_a_step_does_not_wait_for_the_gpu(routed: bool, graphs: str) -> None:
    options = ("trainer.precision=bf16-mixed", "trainer.log_every=10", "budget.dense_until=1")
    config = composed("search", *ON_GPU, *options, f"trainer.cuda_graphs={graphs}")
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
    assert (module.recorded.latest is not None) == (graphs == "true")


@pytest.mark.usefixtures("lines")
def test_a_step_on_packed_documents_reads_nothing_back() -> None:
    options = ("relaxation=gumbel", "model.rope_base=100", "model.layers=2", "trainer.log_every=10")
    module = made("meta", *TEXT, *options, begun=True)
    batch = first_batch(module)
    assert batch.documents is not None
    assert len(batch.documents.cu_seqlens) > 3
    module.training_step(batch, 0).backward()


@pytest.mark.usefixtures("lines")
def test_an_operation_that_does_not_pack_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "packs", False)
    made("cpu", *TEXT)
    with pytest.raises(
        UserError, match=r"^data.documents=packed keeps .* operation window does not support; give .*joined, or "
    ):
        made("cpu", *TEXT, "+space=joint")


def test_the_budget_moves_the_layers_below_a_router_only_with_their_gradient() -> None:
    reached = {}
    for grad in ("full", "none"):
        priced = ("budget.price=1000", "budget.max_multiplier=1000")
        module = made("cpu", f"space.feature_grad={grad}", *priced, begun=True)
        alone = module.alone(next(iter(module.space.codes())))
        for one in (module, alone):
            assert {router.feature_grad for router in routers_of(one.model)} == {grad}
        loss, _ = module.step.compute(first_batch(module), module.moment)
        loss.backward()
        embedding, router = module.model.embedding.weight.grad, routers_of(module.model)[-1].score.weight.grad
        assert embedding is not None
        assert router is not None
        reached[grad] = float(embedding.norm()), float(router.norm())
    assert reached["full"][1] == pytest.approx(reached["none"][1])
    assert reached["full"][0] > 3 * reached["none"][0]
