"""Draws of options from architecture logits."""

import pytest
import torch

from nas.relaxations import RELAXATIONS, SAMPLED, UNLEARNT
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.supernet.draws import computed_options, draw_options
from tests.nas.architectures import small
from tests.nas.supernet.test_architecture_logits import OPTIONS, leaning, three_layers


@pytest.mark.parametrize("relaxation", [name for name in RELAXATIONS if name not in UNLEARNT])
@pytest.mark.parametrize("pairs", [False, True])
def test_as_many_options_are_drawn_as_are_computed(relaxation: str, pairs: bool) -> None:
    logits = [torch.randn(5, requires_grad=True), torch.randn(3, requires_grad=True)]
    found = draw_options(logits, relaxation, 1.0, pairs)
    weights, drawn = found[:2], found[2:]
    computed = 1 if relaxation in SAMPLED else 2 if pairs else None
    assert [computed_options(len(own), relaxation, pairs) for own in logits] == [computed or 5, computed or 3]
    assert [own.numel() for own in weights] == [computed or 5, computed or 3]
    if computed is None:
        assert not drawn
    else:
        options = drawn[0].split(computed)
        assert all(
            len(set(own.tolist())) == computed and own.max() < most for own, most in zip(options, (5, 3), strict=True)
        )
    for own in weights:
        assert own.sum().item() == pytest.approx(1.0)


def test_uniform_draws_do_not_wait_for_a_gpu() -> None:
    """The logits stand for those of a GPU: meta tensors have no values that the host could read."""
    architecture_logits = ArchitectureLogits(three_layers()).to("meta")
    drawn = {architecture_logits.layer_choices("uniform", 1.0)[0].option for _ in range(60)}
    assert drawn == {0, 1, 2}


def test_pairs_compute_two_options_each_as_often_as_its_logit_says() -> None:
    architecture_logits = leaning(three_layers(), layer_0=[2.0, 0.0, 0.0])
    drawn = [architecture_logits.layer_choices("gumbel", 1.0, pairs=True)[0] for _ in range(600)]
    counts = [0, 0, 0]
    for choice in drawn:
        assert choice.option is None
        assert choice.among is not None
        assert choice.weights is not None
        assert choice.weights.shape == (2,)
        assert choice.weights.sum() == 1
        for option in choice.among:
            counts[option] += 1
    assert sum(counts) == 1200
    assert counts[0] > 550, "with a probability of 0.79 it is drawn first, else most often second"
    assert 200 < counts[1] < 400
    assert 200 < counts[2] < 400
    drawn[0].weights[0].backward()  # type: ignore[index]
    gradient = architecture_logits.logits["0"].grad
    assert gradient is not None
    assert [bool(g) for g in gradient] == [option in drawn[0].among for option in range(3)]  # type: ignore[operator]


def test_pairs_do_not_matter_where_one_option_is_computed_or_two_are_all() -> None:
    assert ArchitectureLogits(three_layers()).layer_choices("gdas", 1.0, pairs=True)[0].option is not None
    two = Space("test", small("softmax"), (OPTIONS[:2],))
    assert ArchitectureLogits(two).layer_choices("darts", 1.0, pairs=True)[0].among is None
