"""The state of the schedules at a step."""

import pytest
import torch

from nas.training.step.moment import Moment
from tests.nas.training.test_module import made


@pytest.mark.parametrize("begun", [False, True], ids=["dense", "routed"])
def test_the_schedules_follow_the_progress_of_the_training(begun: bool) -> None:
    options = ("relaxation=gumbel", "relaxation.temperature_start=4", "relaxation.temperature_end=2")
    module = made("cpu", *options, "budget.dense_until=1", begun=begun)
    first, half, last = (Moment.at(x, module.config.relaxation, module.budget) for x in (0.0, 0.5, 1.0))
    assert first.temperature == 4
    assert 2 < float(half.temperature) < 4
    assert last.temperature == 2
    assert first.dense is not begun


def test_buffers_take_the_numbers_of_a_later_moment() -> None:
    buffered = Moment(False, 1.0, 0.5, 0.25).buffered(torch.device("cpu"))
    temperature = buffered.temperature
    buffered.fill(Moment(False, 2.0, 0.125, 0.0))
    assert [float(x) for x in buffered[1:4] if x is not None] == [2.0, 0.125, 0.0]
    assert buffered.temperature is temperature
    assert buffered[4:] == (None, None)
