"""Thresholds: the quantile of leads at which a cost is met, and routers that go there."""

import pytest
import torch

from nas import search_spaces
from nas.budget.cost import UNITS, SpaceCost
from nas.data import build_task
from nas.data.batch import Batch
from nas.evaluation.evaluate import evaluate
from nas.models.language_model import LanguageModel
from nas.models.mixers import Routing
from nas.models.policies import learnt
from nas.models.router import Router
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import Choices, paths_of
from nas.supernet.calibration import calibrate
from nas.supernet.thresholds import threshold
from nas.training.module import TrainingModule
from tests.nas.architectures import small
from tests.nas.budget.test_cost import SPACES
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


@pytest.mark.parametrize("resource", UNITS)
@pytest.mark.parametrize(("name", "code"), [("routers", (0, 0, 0)), ("layers", (2, 0, 2)), ("chunks", (0, 0, 1))])
@pytest.mark.parametrize("part", [0.1, 0.6])
def test_calibration_has_an_architecture_use_up_the_budget(
    resource: str, name: str, code: tuple[int, ...], part: float
) -> None:
    torch.manual_seed(0)
    space = Space(name, small(*["linear"] * 3), SPACES[name])
    model, choices, cost = (
        LanguageModel(space.sizes, "full", space.options),
        Choices(space),
        SpaceCost(resource, space, 64),
    )
    batches = [Batch(torch.randint(11, (16, 64)), torch.zeros(16, 64, dtype=torch.long), None)]
    least, most = (cost.of(code, dict.fromkeys(range(3), share)) for share in (0.0, 1.0))
    target = cost.relative(least + part * (most - least))
    calibrate(model, choices, cost, code, batches, target, exact=True)
    measured = evaluate(model, batches, "recall", learnt, paths_of(code)).shares
    used = cost.of(code, {layer: sum(heads) / len(heads) for layer, heads in measured.items()})
    assert cost.relative(used) == pytest.approx(target, abs=0.01)
    assert 0 < measured[0][0] < 1 or measured[2][0] < 1


@pytest.mark.parametrize(("lean", "moves"), [(3.0, True), (-3.0, False)])
def test_calibration_lets_what_costs_less_be_where_that_is_no_fault(lean: float, moves: bool) -> None:
    torch.manual_seed(0)
    space = Space("routers", small(*["linear"] * 3), SPACES["routers"])
    model, cost = LanguageModel(space.sizes, "full", space.options), SpaceCost("softmax_share", space, 64)
    routers = [module for module in model.modules() if isinstance(module, Router)]
    for router in routers:
        router.move_threshold(torch.tensor(-lean))
    before = [router.score.bias.clone() for router in routers]
    batches = [Batch(torch.randint(11, (16, 64)), torch.zeros(16, 64, dtype=torch.long), None)]
    calibrate(model, Choices(space), cost, (0, 0, 0), batches, 0.3, exact=False)
    assert evaluate(model, batches, "recall").share == pytest.approx(0.3 if moves else 0.0, abs=0.02)
    assert moves != all(torch.equal(router.score.bias, old) for router, old in zip(routers, before, strict=True))


def test_an_exact_budget_finds_what_its_routers_can_bring_to_the_target() -> None:
    """Not the layers of softmax that cost the target as they are, where routed ones are more probable."""
    space = Space("test", small(*["linear"] * 3), SPACES["layers"])
    choices, cost = Choices(space), SpaceCost("softmax_share", space, 64)
    with torch.no_grad():
        for layer in range(3):
            choices.logits[str(layer)].copy_(torch.tensor([0.0, 0.0, 8.0]))
        choices.shares.fill_(0.1)
    assert choices.best(cost, 0.1) == choices.best(cost, 0.1, exact=True) == (2, 2, 2)
    assert choices.best(cost, 0.6, exact=True) == (2, 2, 2)
    plain = Space("test", space.sizes, tuple(own[:2] for own in space.options))
    softmax = sum(option == 0 for option in Choices(plain).best(SpaceCost("softmax_share", plain, 64), 0.6, exact=True))
    assert softmax == 2, "two thirds come nearest"


def test_what_counts_is_how_chunks_are_routed_in_the_end() -> None:
    """Not what was drawn or mixed; but the gradient is that of the weights."""
    space = Space("test", small("token_hybrid"), ((SPACES["layers"][0][2],),))
    weights = torch.full((1, 4, 2, 2), 0.5, requires_grad=True)
    logits = torch.tensor([1.0, -1.0, -1.0, -1.0])[None, :, None, None] * torch.tensor([0.5, -0.5])
    decided = {0: [Routing(logits.expand(1, 4, 2, 2), weights, 4)]}
    cost = SpaceCost("softmax_share", space, 64)
    assert Choices(space).cost(cost, decided).item() == pytest.approx(0.5)
    counted = Choices(space).cost(cost, decided, hard=True)
    assert counted.item() == pytest.approx(0.25)
    counted.backward()
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad[..., 0], torch.full((1, 4, 2), 1 / 8))


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


@pytest.mark.parametrize("start", ["dearest", "cheapest"])
def test_a_search_starts_with_the_dearest_or_the_cheapest(start: str) -> None:
    module = made("cpu", "layer_hybrid", "budget.dense_until=1", f"budget.start={start}")
    batch = first_batch(module)
    module.training_step(batch, 0)
    assert module.latest["share"] == (1.0 if start == "dearest" else 0.0)
    assert module.space.decode(module.supernet.code).mixers == ("softmax" if start == "dearest" else "linear",) * 4
    module.budget.begin_in_time(progress=1.0)
    module.training_step(batch, 0)
    share = module.latest["share"]
    assert share > 0.5 if start == "dearest" else share < 0.1


@pytest.mark.parametrize("part", [0.2, 0.7])
def test_moving_to_the_threshold_of_a_step_has_it_cost_what_is_allowed(part: float) -> None:
    module = made("cpu", "token_hybrid", "budget.exact=true", begun=True)
    tokens = first_batch(module).tokens
    for _ in range(20):
        routing = module.model(tokens, learnt).routing
        expected = module.choices.cost(module.cost, routing, hard=True).detach()
        by = module.choices.threshold(module.cost, routing, expected, part)
        for layer in module.model.modules():
            if isinstance(layer, Router):
                layer.move_threshold(by)
    assert expected.item() == pytest.approx(part, abs=0.04), "each of 32 decisions is a thirtieth"
