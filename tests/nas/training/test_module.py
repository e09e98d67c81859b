"""A training step: that it waits for nothing, and that bfloat16 does it no harm.

The tensors of a step are on the meta device here: like a GPU's they are apart from those of the CPU, and to read one,
which would mean to wait for a GPU, is an error.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas import search_spaces
from nas.data import IGNORE, Scored, build_task
from nas.data.seeding import seed_default
from nas.errors import UserError
from nas.evaluation.evaluate import evaluate
from nas.models.operations.window import Window
from nas.models.policies import keep_all
from nas.search_spaces.space import option_name
from nas.training.block_graphs import BlockGraphs
from nas.training.module import TrainingModule, TrainingStream
from nas.training.optimizer import routers_of
from tests.nas.commands import SEARCH, composed, nas
from tests.nas.data.packed import lines
from tests.nas.gpu import ON_GPU
from tests.nas.training.uncaptured import Uncaptured, without_gpu

__all__ = ["lines", "without_gpu"]

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


def test_the_figures_tell_how_probable_the_options_of_each_layer_are() -> None:
    joint = ("space=joint", "space.chunk_sizes=[8]", "searcher=pairs", "model.layers=2")
    module = made("cpu", *joint)
    with torch.no_grad():
        module.architecture_logits.logits["1"].copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    figures = module.figures()
    options = ("softmax", "linear", "token_hybrid@8", "window")
    assert {name for name in figures if name.startswith("probability/")} == {
        f"probability/layer_{layer}/{option}" for layer in (0, 1) for option in options
    }
    by_option = [figures[f"probability/layer_1/{option}"] for option in map(option_name, module.space.options[1])]
    assert by_option == pytest.approx(torch.arange(4.0).softmax(-1).tolist())
    assert made("cpu").figures() == {}
    assert made("cpu", *joint, "relaxation=uniform").figures() == {}


def test_the_budget_looks_at_the_loss_of_logged_steps() -> None:
    module = made("meta", "budget.dense_until=1", "trainer.log_every=1")
    with pytest.raises(RuntimeError, match="meta"):
        module.training_step(first_batch(module), 0)


@pytest.mark.parametrize("options", [(), TEXT], ids=["recall", "text"])
def test_what_is_scored_is_known_before_the_step(options: tuple[str, ...]) -> None:
    task = made("cpu", *options).task
    batch = task.train_batch(0)
    tokens, places, targets, _ = batch.scored()
    assert tokens is batch.tokens
    assert (places is None) == bool(options)
    assert torch.equal(targets, batch.targets.flatten()[slice(None) if places is None else places])
    assert (targets >= 0).all()
    assert len(targets) == (batch.targets >= 0).sum()


@pytest.mark.filterwarnings("ignore:.*Cannot dispatch to fused implementation")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_measured_beside_the_training_is_in_its_precision(precision: str) -> None:
    module = made("cpu", f"trainer.precision={precision}", begun=True)
    with module.autocast():
        logits = module.model(first_batch(module).tokens, module.supernet.policy).logits
    assert logits.dtype == (torch.bfloat16 if precision == "bf16-mixed" else torch.float32)
    assert 0 <= module.validate().quality <= 1


def test_validation_counts_the_planted_chunks_of_the_layer_that_finds_most() -> None:
    module = made("cpu", begun=True)
    measured = evaluate(module.model, module.task.validation_batches(), module.task.quality, module.supernet.policy)
    quality, found = module.validate()
    assert quality == measured.quality
    assert found in measured.found_by_layer.values()


def test_route_dropout_keeps_every_chunk_at_first_and_routers_learn_all_the_same() -> None:
    module = made("cpu", "budget.route_dropout_over=0.5", "budget.price=0", begun=True)
    for router in routers_of(module.model):
        router.move_threshold(torch.tensor(5.0))
    batch = first_batch(module)
    policy = module._relaxed(module._moment()._replace(route_dropout=1.0))
    output = module.model(batch.tokens, policy, batch.places)
    assert torch.equal(output.logits, module.model(batch.tokens, keep_all, batch.places).logits)
    output.logits.logsumexp(-1).sum().backward()
    assert all(router.score.weight.grad.abs().sum() > 0 for router in routers_of(module.model))


def test_a_budget_for_each_layer_prices_each_layer_by_its_own_cost() -> None:
    module = made("cpu", "budget.by_layer=true", "budget.tighten_over=0", "budget.price=0", begun=True)
    batch = first_batch(module)
    module.training_step(batch, 0)
    assert module.latest["share"] == 1.0
    routers_of(module.model)[0].move_threshold(torch.tensor(50.0))
    for _ in range(20):
        loss = module.training_step(batch, 0)
    assert module.latest["share"] == 0.5
    first, second = module.budget.running_cost.tolist()
    assert (first, second) == (pytest.approx(0.95**20, rel=0.1), 1.0)
    pressed = module.budget.multiplier[1].item()  # of two layers, with the cost 1; the other has the cost 0
    assert loss.item() == pytest.approx(float(module.latest["loss"]) + pressed / 2, abs=0.02)


def test_the_figures_have_the_softmax_share_of_each_routed_layer() -> None:
    module = made("cpu", "model.layers=3", "model.routed_layers=[0,2]", begun=True)
    module.training_step(first_batch(module), 0)
    shares = {name: share for name, share in module.figures().items() if name.startswith("share/")}
    running = module.architecture_logits.shares[:, 0].tolist()
    assert shares == {"share/layer_0": running[0], "share/layer_2": running[2]}


@pytest.mark.parametrize("start", ["most_expensive", "both"])
def test_linear_attention_learns_before_routing_begins_where_chunks_get_both(start: str) -> None:
    module = made("cpu", "budget.dense_until=1", f"budget.start={start}")
    module.training_step(first_batch(module), 0).backward()
    mixer = module.model.blocks[0].mixer
    assert (mixer.write.weight.grad is None) == (start == "most_expensive")
    assert mixer.q_norm.weight.grad is not None
    assert module.latest["share"] == 1.0
    assert module.validate().found is None


@pytest.mark.parametrize(
    "options", [("budget.dense_until=1",), (*TEXT, "data.length_factors=[1]")], ids=["dense", "text"]
)
def test_validation_finds_nothing_where_nothing_is_planted_or_routed(options: tuple[str, ...]) -> None:
    assert made("cpu", *options, begun=TEXT[0] in options).validate().found is None


@pytest.mark.parametrize("relaxation", ["argmax_ste", "gumbel"])
def test_loss_and_share_are_float32_in_mixed_precision(relaxation: str) -> None:
    module = made("cpu", "trainer.precision=bf16-mixed", f"relaxation={relaxation}", begun=True)
    with module.autocast():
        loss = module.training_step(first_batch(module), 0)
    loss.backward()
    for name in ("loss", "share"):
        figure = module.latest[name]
        assert isinstance(figure, torch.Tensor)
        assert figure.dtype == torch.float32, name
    assert math.isfinite(loss.item())
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


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
    assert (module._replayed is not None) == (graphs == "true")


@pytest.mark.parametrize("options", [("relaxation=gumbel",), ("relaxation=gumbel", "relaxation.router=darts")], ids=str)
@pytest.mark.parametrize("space", ["token_hybrid", "joint"])
def test_activation_checkpointing_changes_memory_and_no_number(space: str, options: tuple[str, ...]) -> None:
    """Gradients with random routes are the same, and fewer tensors are saved for the backward pass."""
    results, saved = [], []
    for recomputes in ("false", "true"):
        given = (*options, f"trainer.activation_checkpointing={recomputes}")
        module = made("cpu", f"+space={space}", *given, begun=True)
        batch, sizes = module.task.train_batch(0).scored(), [0]

        def keep(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes[0] += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = module.training_step(batch, 0)
        module.backward(loss)
        results.append({name: p.grad for name, p in module.named_parameters()})
        saved.append(sizes[0])
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, rtol=0, atol=0, msg=name)
    assert saved[1] < saved[0] / 2


@pytest.mark.usefixtures("lines")
def test_a_step_on_packed_documents_reads_nothing_back() -> None:
    options = ("relaxation=gumbel", "model.rope_base=100", "model.layers=2", "trainer.log_every=10")
    module = made("meta", *TEXT, *options, begun=True)
    batch = first_batch(module)
    assert batch.documents is not None
    assert len(batch.documents.cu_seqlens) > 3
    module.training_step(batch, 0).backward()


@pytest.mark.usefixtures("lines", "without_gpu")
def test_steps_on_packed_documents_are_not_recorded() -> None:
    module = made("cpu", "+space=joint", "model.layers=2", *TEXT, "relaxation=gdas", begun=True)
    loss = module.training_step(first_batch(module), 0)
    module.backward(loss)
    assert module.recordings == Uncaptured.recorded == 0
    blocks = module.scoring_run(first_batch(module).tokens)
    assert isinstance(blocks, BlockGraphs)
    policy, choices = module.supernet.policy, module.layer_choices
    given = (module.model, module.task.validation_batches(), "bits_per_byte", policy, choices)
    assert evaluate(*given, blocks) == evaluate(*given)
    assert blocks.count == 0


@pytest.mark.parametrize("data", [TEXT, NEEDLE], ids=["text", "needle"])
def test_a_batch_without_targets_has_no_loss(data: tuple[str, ...]) -> None:
    module = made("cpu", *data, begun=True)
    batch = module.task.train_batch(0)
    loss = module.training_step(batch._replace(targets=torch.full_like(batch.targets, IGNORE)).scored(), 0)
    module.backward(loss)
    assert module.latest["loss"] == 0
    assert all(torch.as_tensor(figure).isfinite() for figure in (loss, *module.latest.values()))
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    head = module.model.head.weight.grad
    assert head is not None
    assert not head.any()


@pytest.mark.usefixtures("lines")
def test_an_operation_that_does_not_pack_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "packs", False)
    made("cpu", *TEXT)
    with pytest.raises(
        UserError, match=r"^data.documents=packed keeps .* operation window does not support; give .*joined, or "
    ):
        made("cpu", *TEXT, "+space=joint")
