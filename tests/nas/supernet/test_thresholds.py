"""Thresholds: the quantile of leads at which a cost is met, and routers that go there."""

import pytest
import torch

from nas import search_spaces
from nas.data import build_task
from nas.models.policies import learnt
from nas.models.router import Router
from nas.supernet.draws import choices_of_layers
from nas.supernet.thresholds import threshold
from nas.training.module import TrainingModule
from nas.training.step.routes import Routes
from tests.nas.commands import SMALL, composed
from tests.nas.training.test_module import first_batch


def made(device: str, space: str, *options: str, begun: bool = False) -> TrainingModule:
    """A module of a small search, with routing begun or not."""
    config = composed("search", f"+space={space}", *SMALL, *options)
    task = build_task(config.data, config.seed)
    module = TrainingModule(search_spaces.build(config.space, config.model, task.vocab_size), task, config)
    if begun:
        module.budget.begin_in_time(progress=1.0)
    return module.to(device)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("allowed", [0.0, 0.1, 0.37, 0.9, 1.0])
def test_the_largest_leads_are_kept_whatever_their_scale(allowed: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    leads = scale * (3 + torch.randn(1000, generator=generator))
    costs = torch.full((1000,), 1 / 1000)
    kept = (leads >= threshold(leads, costs, torch.tensor(allowed))).float().mean()
    assert kept == pytest.approx(allowed, abs=1e-6)


def test_what_costs_more_counts_more() -> None:
    leads, costs = torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([0.5, 0.2, 0.2, 0.1])
    assert [threshold(leads, costs, torch.tensor(x)).item() for x in (0.5, 0.7, 0.9)] == [3.5, 2.5, 1.5]


@pytest.mark.parametrize(("allowed", "lead"), [(0.0, -5.0), (1.0, 5.0), (-0.3, -5.0), (2.0, 5.0)])
def test_it_rests_where_all_or_nothing_is_kept_as_it_should_be(allowed: float, lead: float) -> None:
    leads = lead + torch.linspace(0, 1, 10)
    assert threshold(leads, torch.full((10,), 0.1), torch.tensor(allowed)) == 0


def test_it_is_zero_where_nothing_is_decided() -> None:
    assert threshold(torch.empty(0), torch.empty(0), torch.tensor(0.5)) == 0


def test_moving_a_threshold_moves_every_lead() -> None:
    router, x = Router(12, 3), torch.randn(2, 8, 12)
    before = router(x, 4)
    router.move_threshold(torch.tensor(0.7))
    change = router(x, 4) - before
    torch.testing.assert_close(change[..., 0] - change[..., 1], torch.full((2, 2, 3), -0.7))


@pytest.mark.parametrize(
    ("space", "relaxation"), [("token_hybrid", "argmax_ste"), ("token_hybrid", "gumbel"), ("joint", "darts")]
)
def test_a_step_moves_thresholds_and_reads_nothing_back(space: str, relaxation: str) -> None:
    exact = ("budget.exact=true", "trainer.log_every=10", f"relaxation={relaxation}", "relaxation.pairs=false")
    module = made("meta", space, *exact, begun=True)
    module.training_step(first_batch(module), 0).backward()
    module.on_after_backward()
    with pytest.raises(RuntimeError, match="meta"):
        module.figures()


@pytest.mark.parametrize("start", ["most_expensive", "cheapest"])
def test_a_search_starts_with_the_most_expensive_or_the_cheapest(start: str) -> None:
    module = made("cpu", "layer_hybrid", "budget.dense_until=1", f"budget.start={start}")
    batch = first_batch(module)
    module.training_step(batch, 0)
    assert module.latest["share"] == (1.0 if start == "most_expensive" else 0.0)
    assert (
        module.space.decode(module.supernet.code).mixers == ("softmax" if start == "most_expensive" else "linear",) * 4
    )
    module.budget.begin_in_time(progress=1.0)
    module.training_step(batch, 0)
    share = module.latest["share"]
    assert share > 0.5 if start == "most_expensive" else share < 0.1


def test_a_step_without_routed_options_moves_no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    module = made("cpu", "layer_hybrid", "budget.exact=true", begun=True)
    plain = [next(i for i, option in enumerate(own) if not option.routed) for own in module.space.options]
    monkeypatch.setattr(Routes, "drawn", lambda self, moment: choices_of_layers(tuple(plain)))
    module.budget.shift.fill_(1.0)  # of an earlier step
    module.training_step(first_batch(module), 0)
    assert module.budget.shift == 0


@pytest.mark.parametrize("part", [0.2, 0.7])
def test_moving_to_the_threshold_of_a_step_has_it_cost_what_is_allowed(part: float) -> None:
    module = made("cpu", "token_hybrid", "budget.exact=true", begun=True)
    tokens = first_batch(module).tokens
    for _ in range(20):
        routing = module.model(tokens, learnt).routing
        measured = module.architecture_logits.measured(routing)
        expected = module.architecture_logits.cost(module.cost, measured, hard=True).detach()
        by = module.architecture_logits.threshold(module.cost, routing, expected, part)
        for layer in module.model.modules():
            if isinstance(layer, Router):
                layer.move_threshold(by)
    assert expected.item() == pytest.approx(part, abs=0.04), "each of 32 decisions is a thirtieth"
