"""Calibration: the routers of an architecture move to where it costs the target."""

import pytest
import torch

from nas.budget.cost import UNITS, SpaceCost
from nas.data.batch import Batch
from nas.evaluation.evaluate import evaluate
from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from nas.models.router import Router
from nas.models.routing import kept_margin
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.supernet.calibration import calibrate
from nas.supernet.draws import choices_of_layers
from tests.nas.architectures import small
from tests.nas.budget.test_cost import SPACES
from tests.nas.latency.examples import cost_of


@pytest.mark.parametrize("resource", UNITS)
@pytest.mark.parametrize(("name", "code"), [("routers", (0, 0, 0)), ("layers", (2, 0, 2)), ("chunks", (0, 0, 1))])
@pytest.mark.parametrize("part", [0.1, 0.6])
def test_calibration_has_an_architecture_use_up_the_budget(
    resource: str, name: str, code: tuple[int, ...], part: float
) -> None:
    torch.manual_seed(0)
    space = Space(name, small(*["linear"] * 3), SPACES[name])
    model, architecture_logits, cost = (
        LanguageModel(space.sizes, "full", space.options),
        ArchitectureLogits(space),
        cost_of(resource, space, 64),
    )
    batches = [Batch(torch.randint(11, (16, 64)), torch.zeros(16, 64, dtype=torch.long), None)]
    least, most = (cost.of(code, dict.fromkeys(range(3), share)) for share in (0.0, 1.0))
    target = cost.relative(least + part * (most - least))
    calibrate(model, architecture_logits, cost, code, batches, target, exact=True)
    measured = evaluate(model, batches, "recall", learnt, choices_of_layers(code)).shares
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
    calibrate(model, ArchitectureLogits(space), cost, (0, 0, 0), batches, 0.3, exact=False)
    assert evaluate(model, batches, "recall").share == pytest.approx(0.3 if moves else 0.0, abs=0.02)
    assert moves != all(torch.equal(router.score.bias, old) for router, old in zip(routers, before, strict=True))


@pytest.mark.parametrize("above", [True, False])
def test_calibration_stays_finite_and_at_the_nearest_threshold(above: bool) -> None:
    """A threshold between two margins on the wrong side of the present one leaves an interval with an infinite end."""
    torch.manual_seed(0)
    space = Space("one", small("linear"), ((Layer("token_hybrid", 4),),))
    model, cost = LanguageModel(space.sizes, "full", space.options), SpaceCost("softmax_share", space, 64)
    (router,) = (module for module in model.modules() if isinstance(module, Router))
    batch = Batch(torch.randint(11, (1, 20)), torch.zeros(1, 20, dtype=torch.long), None)
    (routing,) = model(batch.tokens).routing[0]
    margins = kept_margin(routing).flatten().sort().values
    kept, dropped = margins[6], margins[5]  # of ten decisions
    near = kept - (kept - dropped) / 4 if above else dropped + (kept - dropped) / 4
    router.move_threshold(near)  # the middle of the two margins is now on the other side of 0
    share = evaluate(model, [batch], "recall", learnt).share
    assert share == pytest.approx(0.4)
    before = router.score.bias.clone()
    target = share + (-0.03 if above else 0.03)  # nearer to the present share than to any other
    calibrate(model, ArchitectureLogits(space), cost, (0,), [batch], target, exact=True)
    torch.testing.assert_close(router.score.bias, before, rtol=0, atol=(kept - dropped).item())
    assert evaluate(model, [batch], "recall", learnt).share == share


@pytest.mark.parametrize(("target", "exact", "share"), [(0.38, False, 0.3), (0.38, True, 0.4), (0.05, False, 0.0)])
def test_a_limit_is_not_exceeded_and_an_exact_target_is_approached(target: float, exact: bool, share: float) -> None:
    """Ten decisions: a target between two shares takes the lower one, and the nearest one only if exact."""
    torch.manual_seed(0)
    space = Space("one", small("linear"), ((Layer("token_hybrid", 4),),))
    model, cost = LanguageModel(space.sizes, "full", space.options), SpaceCost("softmax_share", space, 64)
    for router in (module for module in model.modules() if isinstance(module, Router)):
        router.move_threshold(torch.tensor(-5.0))
    batch = Batch(torch.randint(11, (1, 20)), torch.zeros(1, 20, dtype=torch.long), None)
    reached = calibrate(model, ArchitectureLogits(space), cost, (0,), [batch], target, exact)
    assert reached == pytest.approx(share)
    assert evaluate(model, [batch], "recall", learnt).share == pytest.approx(share)


@pytest.mark.parametrize("exact", [False, True])
def test_chunks_with_equal_margins_are_kept_together_only_within_the_limit(exact: bool) -> None:
    """As in mqar, whose sequences are mostly empty: the share jumps from 0.2 to 1, and 1 is nearer to 0.7."""
    torch.manual_seed(0)
    space = Space("one", small("linear", routing_heads=1), ((Layer("token_hybrid", 4),),))
    model, cost = LanguageModel(space.sizes, "full", space.options), SpaceCost("softmax_share", space, 64)
    (router,) = (module for module in model.modules() if isinstance(module, Router))
    router.move_threshold(torch.tensor(-5.0))
    (routing,) = model(torch.arange(11).repeat_interleave(4)[None]).routing[0]
    *others, low = kept_margin(routing).flatten().argsort(descending=True).tolist()
    tokens = torch.tensor([*others[:2], *[low] * 8]).repeat_interleave(4)[None]
    batch = Batch(tokens, torch.zeros_like(tokens), None)
    share = 1.0 if exact else 0.2
    reached = calibrate(model, ArchitectureLogits(space), cost, (0,), [batch], 0.7, exact)
    assert reached == pytest.approx(share)
    assert evaluate(model, [batch], "recall", learnt).share == pytest.approx(share)


def test_calibration_goes_beyond_a_finite_end() -> None:
    """If all margins are equal, as in bfloat16, the nearest share to a low target is 0, beyond every margin."""
    space = Space("one", small("linear"), ((Layer("token_hybrid", 4),),))
    model, cost = LanguageModel(space.sizes, "full", space.options), SpaceCost("softmax_share", space, 64)
    (router,) = (module for module in model.modules() if isinstance(module, Router))
    torch.nn.init.zeros_(router.score.weight)
    batch = Batch(torch.randint(11, (1, 20)), torch.zeros(1, 20, dtype=torch.long), None)
    for target, share in ((0.3, 0.0), (0.8, 1.0)):
        calibrate(model, ArchitectureLogits(space), cost, (0,), [batch], target, exact=True)
        assert router.score.bias.isfinite().all()
        assert evaluate(model, [batch], "recall", learnt).share == share


def test_calibration_in_mixed_precision_sees_the_thresholds_that_it_moves() -> None:
    """Autocast keeps a copy of each bias in lower precision until its outermost block ends."""
    torch.manual_seed(0)
    space = Space("one", small("linear"), ((Layer("token_hybrid", 4),),))
    model, cost = LanguageModel(space.sizes, "full", space.options), SpaceCost("softmax_share", space, 64)
    batch = Batch(torch.randint(11, (16, 64)), torch.zeros(16, 64, dtype=torch.long), None)
    with torch.autocast("cpu", torch.bfloat16):
        calibrate(model, ArchitectureLogits(space), cost, (0,), [batch], 0.3, exact=True)
        assert evaluate(model, [batch], "recall", learnt).share == pytest.approx(0.3, abs=0.03)
