"""The budget: when it begins, how it tightens and lets go, that it holds its target, and what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.budget.controller import Budget
from tests.nas.commands import SMALL, nas

OPTIONS: dict[str, Any] = {
    "target": 0.1,
    "start": "most_expensive",
    "exact": False,
    "learnt_at": 0.5,
    "dense_until": 0.4,
    "tighten_over": 0.2,
    "rate": 0.05,
    "gain": 0.5,
    "price": 0.02,
    "settle_from": 0.7,
    "max_multiplier": 3.0,
}


def budget(**changed: Any) -> Budget:
    return Budget(**(OPTIONS | changed))


def observe(made: Budget, loss: Tensor, progress: float, look: bool = True) -> None:
    """What a step without routing does."""
    made.note(loss)
    made.begin_in_time(progress, look)


def begun(**changed: Any) -> Budget:
    """A budget that began at the start of training and is at its target from there on."""
    made = budget(dense_until=0.0, tighten_over=0.0, **changed)
    observe(made, torch.tensor(1.0), 0.0)
    return made


def multipliers(made: Budget, share: float, steps: int, progress: float = 1.0) -> list[float]:
    """The multiplier after each of some steps that all use one share."""
    found = []
    for _ in range(steps):
        made.update(torch.tensor(share), made.allowed(progress), made.min_multiplier(progress))
        found.append(made.multiplier.item())
    return found


def test_a_step_that_overflows_leaves_no_trace() -> None:
    lost = torch.tensor(math.nan)
    noted = budget()
    for loss in (lost, torch.tensor(2.0), torch.tensor(math.inf)):
        noted.note(loss)
    assert (noted.first_loss, noted.running_loss) == (2.0, 2.0)
    made = begun()
    multipliers(made, 0.5, 3)
    before = made.running_cost.item()
    assert all(map(math.isfinite, multipliers(made, math.nan, 1)))
    assert made.running_cost == before
    made.move(lost)
    assert made.shift == 0


def test_it_starts_dense_and_without_a_penalty() -> None:
    made = budget()
    assert made.dense
    assert made.allowed(0.3) == 1.0
    assert made.penalty(torch.tensor(0.7)).item() == 0.0


def test_it_begins_when_the_loss_says_that_the_task_is_learnt() -> None:
    made = budget()
    for step in range(30):
        observe(made, torch.tensor(4.0), step / 1000)
    assert made.dense
    observe(made, torch.tensor(0.0), 0.03)
    assert made.dense, "one lucky batch is not learning"
    for step in range(40):
        observe(made, torch.tensor(1.0), 0.031 + step / 1000)
    assert not made.dense
    assert 0.031 < made.began.item() < 0.071


def test_it_begins_at_the_latest_at_dense_until() -> None:
    made = budget()
    for step in range(100):
        observe(made, torch.tensor(4.0), step / 100)
        assert made.dense == (step < 40)


def test_the_allowed_share_falls_geometrically_to_the_target() -> None:
    made = budget()
    observe(made, torch.tensor(4.0), 0.4)
    assert made.allowed(0.4) == pytest.approx(1.0)
    assert made.allowed(0.5) == pytest.approx(math.sqrt(0.1))
    assert made.allowed(0.6) == pytest.approx(0.1)
    assert made.allowed(1.0) == 0.1


def test_without_tightening_the_target_is_there_at_once() -> None:
    for progress in (0.1, 0.2, 0.3):  # in float32 some are more
        made = budget(dense_until=progress, tighten_over=0.0)
        observe(made, torch.tensor(1.0), progress)
        assert made.allowed(progress) == OPTIONS["target"]


def test_from_below_the_allowed_cost_rises_to_the_target() -> None:
    made = budget(start="cheapest", floor=0.02)
    assert made.allowed(0.3) == 0.02
    assert made.running_cost.item() == pytest.approx(0.02)
    observe(made, torch.tensor(4.0), 0.4)
    assert [made.allowed(progress) for progress in (0.4, 0.5, 0.6, 1.0)] == pytest.approx([0.02, 0.06, 0.1, 0.1])


def test_what_even_the_cheapest_costs_is_neither_tightened_nor_priced() -> None:
    """Above a floor of 0.5 a target of 0.55 is what 0.1 is above none."""
    made, plain = budget(floor=0.5, target=0.55), budget()
    for each in (made, plain):
        observe(each, torch.tensor(4.0), 0.4)
    for progress in (0.4, 0.45, 0.5, 0.6):
        assert made.allowed(progress) == pytest.approx(0.5 + plain.allowed(progress) / 2)
    for cost in (0.3, 0.05, 0.8):
        made.update(torch.tensor(0.5 + cost / 2), made.allowed(0.6), made.min_multiplier(0.6))
        plain.update(torch.tensor(cost), plain.allowed(0.6), plain.min_multiplier(0.6))
        assert made.multiplier.item() == pytest.approx(plain.multiplier.item(), abs=1e-5)
    slopes = [
        torch.autograd.grad(each.penalty(x), x)[0]
        for each in (made, plain)
        for x in [torch.ones((), requires_grad=True)]
    ]
    assert slopes[0] == pytest.approx(2 * slopes[1])


@pytest.mark.parametrize("start", ["most_expensive", "cheapest"])
def test_the_cheapest_architecture_can_be_the_target(start: str) -> None:
    made = budget(floor=0.3, target=0.3, start=start)
    observe(made, torch.tensor(4.0), 0.4)
    assert all(0.3 <= made.allowed(0.4 + step / 100) <= 1 for step in range(20))
    assert made.allowed(0.61) == 0.3
    made.update(torch.tensor(0.3), made.allowed(0.6), made.min_multiplier(0.6))
    assert made.multiplier.isfinite()


def test_route_dropout_falls_from_the_begin_of_routing_and_the_allowed_share_not_faster() -> None:
    made = budget(route_dropout_over=0.4, route_dropout=0.2)
    observe(made, torch.tensor(4.0), 0.4)
    assert [made.route_dropout(progress) for progress in (0.4, 0.6, 0.8, 1.0)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert [made.allowed(progress) for progress in (0.4, 0.6, 0.8, 1.0)] == pytest.approx([1.0, 0.5, 0.1, 0.1])
    for loss, dropout, priced in ((4.0, 0.6, False), (4.0, 0.2, True), (4.0, 0.6, False), (0.1, 0.6, True)):
        for _ in range(60):
            made.update(torch.tensor(0.5), 0.1, 0.02, torch.tensor(loss), dropout)
        assert (made.multiplier > 0) == priced
    full = made.penalty(torch.tensor(0.5))
    assert full > 0
    assert made.penalty(torch.tensor(0.5), 0.6).item() == pytest.approx(0.4 * full.item())
    assert budget().route_dropout(0.5) is None


def test_the_multiplier_is_0_while_the_loss_is_clearly_above_its_lowest_value() -> None:
    made = begun(loss_margin=0.1, price=0.05)
    losses = [4.0] * 5 + [0.5] * 150 + [4.0] * 20 + [0.5] * 80
    found = []
    for loss in losses:
        before = made.integral.item()
        made.update(torch.tensor(0.5), 0.1, 0.05, torch.tensor(loss))
        lost = made.running_loss - made.lowest_loss > 0.1  # the first loss, of `begun`, is 1
        assert (made.multiplier == 0) == lost
        assert made.integral.item() <= before or not lost
        found.append(bool(lost))
    assert (found[0], found[154], found[156], found[174], found[-1]) == (True, False, True, True, False)
    assert made.multiplier >= 0.05
    assert set(budget(loss_margin=0.1).state_dict()) - set(budget().state_dict()) == {"lowest_loss"}


def test_each_layer_can_have_a_multiplier_of_its_own() -> None:
    ranges = [(0.0, 0.4), (0.2, 0.2), (0.0, 0.4)]  # the second layer has a fixed cost
    made, plain = begun(ranges=ranges, floor=0.2), begun(floor=0.2)

    def scaled(first: float, third: float) -> Tensor:
        return made.scaled(torch.tensor([first, 0.2, third]))

    assert scaled(0.4, 0.2).tolist() == pytest.approx([1.0, 0.2, 0.6])
    for _ in range(20):
        made.update(scaled(0.3, 0.3), 0.3, 0.02)
        plain.update(torch.tensor(0.8), 0.3, 0.02)
    assert made.pressure.item() == pytest.approx(plain.multiplier.item())
    difference = made.penalty(scaled(0.4, 0.4)) - made.penalty(scaled(0.3, 0.3))
    assert difference.item() == pytest.approx((plain.multiplier * 0.2 / 0.8).item(), rel=1e-5)
    for _ in range(200):
        made.update(scaled(0.3, 0.0), 0.3, 0.02)
    assert made.multiplier[0] > 1
    assert made.multiplier[2].item() == pytest.approx(0.02)
    assert made.state_dict().keys() == plain.state_dict().keys()


def test_it_tightens_while_the_share_is_over_the_allowed_one() -> None:
    found = multipliers(begun(), share=0.5, steps=50)
    assert found == sorted(found)
    assert found[-1] > found[0] > 0


def test_it_lets_go_while_the_share_is_under_it() -> None:
    made = begun()
    high = multipliers(made, share=0.5, steps=30)[-1]
    falling = multipliers(made, share=0.0, steps=300)
    assert high > 0.5
    assert falling[-1] == 0.0


def test_the_price_stays_until_routes_settle() -> None:
    made = begun()
    assert multipliers(made, share=0.0, steps=200, progress=0.69)[-1] == pytest.approx(0.02)
    assert multipliers(made, share=0.0, steps=200, progress=0.7)[-1] == 0.0


def test_an_exact_budget_pays_for_what_costs_while_the_cost_is_under_it() -> None:
    assert multipliers(begun(exact=True), share=0.0, steps=300)[-1] == pytest.approx(-3.0)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_multiplier_stays_within_its_bounds(share: float) -> None:
    found = multipliers(begun(max_multiplier=0.7), share, steps=300)
    assert all(0 <= multiplier <= 0.7 + 1e-6 for multiplier in found)
    assert found[-1] == pytest.approx(0.7 if share else 0.0)


def test_one_batch_that_needs_more_does_not_move_it_much() -> None:
    made = begun()
    multipliers(made, share=0.05, steps=200)
    assert multipliers(made, share=0.14, steps=1) == [0.0]


def test_the_penalty_pushes_the_share_down_in_proportion_to_the_multiplier() -> None:
    made = begun()
    multiplier = multipliers(made, share=0.5, steps=5)[-1]
    share = torch.tensor(0.3, requires_grad=True)
    made.penalty(share).backward()
    assert share.grad is not None
    assert share.grad.item() == pytest.approx(multiplier)


@pytest.mark.parametrize("start", [-3.5, 0.0, 6.0], ids=["from below", "from between", "from above"])
@pytest.mark.parametrize("benefit", [0.1, 0.5])
def test_a_share_that_pays_settles_on_the_target(start: float, benefit: float) -> None:
    """A share that is the sigmoid of one logit, and lowers the loss the more of it there is."""
    made = begun(rate=0.002)
    logit = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.SGD([logit], lr=0.5)
    shares = []
    for _ in range(6000):
        share = logit.sigmoid()
        loss = -benefit * share + made.penalty(share)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        made.update(share.detach(), made.allowed(1.0), made.min_multiplier(1.0))
        shares.append(share.item())
    assert sum(shares[-500:]) / 500 == pytest.approx(0.1, rel=0.1)
    assert max(shares[-500:]) < 0.2


def test_a_checkpoint_keeps_all_of_it() -> None:
    made, other = begun(), budget(dense_until=0.0, tighten_over=0.0)
    multipliers(made, share=0.4, steps=7)
    other.load_state_dict(made.state_dict())
    assert not other.dense
    assert multipliers(other, share=0.3, steps=3) == multipliers(made, share=0.3, steps=3)


@pytest.mark.parametrize(
    ("space", "resource", "target", "start"),
    [
        ("token_hybrid", "kv_bytes", 100_000, "most_expensive"),
        ("layer_hybrid", "softmax_share", 0.6, "cheapest"),
        ("layer_hybrid", "flops", 400_000, "most_expensive"),
    ],
)
def test_a_search_uses_up_an_exact_budget(tmp_path: Path, space: str, resource: str, target: float, start: str) -> None:
    """However little is learnt in six steps: choices and thresholds hold the budget, not the task."""
    exact = (f"budget={resource}", f"budget.target={target}", "budget.exact=true", f"budget.start={start}")
    ended = nas(
        "search",
        f"+space={space}",
        *SMALL,
        "data.batch_size=8",
        "data.validation_batches=8",
        *exact,
        f"output={tmp_path}",
    )
    assert ended.status == 0, ended.err
    spent = json.loads((ended.run / "metrics.json").read_text())["budget"]
    assert spent["least"] < spent["target"] < spent["most"]
    assert spent["used"] / spent["most"] == pytest.approx(target / spent["most"], abs=0.02)
    assert spent["dense_steps"] == 1
    assert "The budget is not met" not in ended.out


def test_an_exact_budget_that_no_choice_uses_up_is_told_of(tmp_path: Path) -> None:
    """Of four layers that are softmax or linear a quarter or none can be softmax, not an eighth."""
    options = ("+space=layer_hybrid", *SMALL, "space.operations=[softmax,linear]", "budget.exact=true")
    ended = nas("search", *options, "budget.target=0.125", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    spent = json.loads((ended.run / "metrics.json").read_text())["budget"]
    assert spent["used"] in (0.0, 0.25)
    assert f"The budget is not met: the model needs {spent['used']:g} of the chunks, the target is 0.125." in ended.out
