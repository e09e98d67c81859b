"""The budget: when it begins, how it tightens and lets go, that it holds its target, and what it refuses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.budget import Budget
from nas.errors import UserError

OPTIONS: dict[str, float] = {
    "target": 0.1,
    "learnt_at": 0.5,
    "dense_until": 0.4,
    "tighten_over": 0.2,
    "rate": 0.05,
    "gain": 0.5,
    "price": 0.02,
    "settle_from": 0.7,
    "max_multiplier": 3.0,
}


def budget(**changed: float) -> Budget:
    return Budget(**(OPTIONS | changed))


def observe(made: Budget, loss: Tensor, progress: float, look: bool = True) -> None:
    """What a step without routing does."""
    made.note(loss)
    made.begin_in_time(progress, look)


def begun(**changed: float) -> Budget:
    """A budget that began at the start of training and is at its target from there on."""
    made = budget(dense_until=0.0, tighten_over=0.0, **changed)
    observe(made, torch.tensor(1.0), 0.0)
    return made


def multipliers(made: Budget, share: float, steps: int, progress: float = 1.0) -> list[float]:
    """The multiplier after each of some steps that all use one share."""
    found = []
    for _ in range(steps):
        made.update(torch.tensor(share), made.allowed(progress), made.least(progress))
        found.append(made.multiplier.item())
    return found


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
        made.update(share.detach(), made.allowed(1.0), made.least(1.0))
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
    "changed",
    [
        {"target": 0.0},
        {"target": 1.5},
        {"target": -0.1},
        {"target": math.nan},
        {"learnt_at": -0.1},
        {"dense_until": 1.1},
        {"dense_until": math.nan},
        {"tighten_over": -1.0},
        {"rate": -0.1},
        {"rate": math.inf},
        {"gain": math.nan},
        {"price": -0.1},
        {"price": 3.5},
        {"settle_from": 2.0},
        {"max_multiplier": math.nan},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_named_with_what_would_do(changed: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        budget(**changed)
    ((name, value),) = changed.items()
    assert f"budget.{name}={value}" in str(caught.value)
    assert "; give" in str(caught.value)
