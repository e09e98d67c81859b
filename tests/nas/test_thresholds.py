"""Thresholds: the quantile of leads at which a cost is met, and routers that go there."""

import pytest
import torch

from nas.calibration import calibrate
from nas.choices import Choices, paths_of
from nas.cost import UNITS, SpaceCost
from nas.data.batch import Batch
from nas.evaluation import evaluate, learnt
from nas.models.language_model import LanguageModel
from nas.models.router import Router
from nas.space import Space
from nas.thresholds import threshold
from tests.nas.architectures import small
from tests.nas.test_cost import SPACES


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
    calibrate(model, choices, cost, code, batches, target)
    measured = evaluate(model, batches, "recall", learnt, paths_of(code)).shares
    used = cost.of(code, {layer: sum(heads) / len(heads) for layer, heads in measured.items()})
    assert cost.relative(used) == pytest.approx(target, abs=0.01)
    assert 0 < measured[0][0] < 1 or measured[2][0] < 1
