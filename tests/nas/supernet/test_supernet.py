"""What a supernet has learnt so far: before routing begins, and after."""

import pytest
import torch

from nas.data.seeding import generator
from nas.models.language_model import LanguageModel
from nas.models.policies import randomly
from nas.models.routing import first_alone
from nas.supernet.supernet import Supernet
from tests.nas.architectures import small
from tests.nas.supernet.test_thresholds import made

LOGITS = torch.randn(2, 8, 2, 2, generator=torch.Generator().manual_seed(0))


def kept(supernet: Supernet) -> torch.Tensor:
    assert supernet.policy is not None
    return supernet.policy(0, LOGITS)[..., 0]


def test_before_routing_begins_it_is_as_it_started() -> None:
    above = made("cpu", "layer_hybrid", "budget.dense_until=1").supernet
    assert above.policy is first_alone
    assert above.code == above.cost.densest
    below = made("cpu", "layer_hybrid", "budget.dense_until=1", "budget.start=cheapest").supernet
    assert below.code == below.cost.cheapest
    assert not kept(below).any()


def test_after_that_logits_decide() -> None:
    module = made("cpu", "layer_hybrid", "budget.target=1", begun=True)
    with torch.no_grad():
        for layer in module.space.choosing:
            module.architecture_logits.logits[str(layer)][1] = 3.0
    assert module.supernet.code == (1,) * len(module.space.options)
    assert torch.equal(kept(module.supernet), (LOGITS[..., 0] >= LOGITS[..., 1]).float())


def test_a_random_routing_begins_anew_each_time() -> None:
    model = LanguageModel(small("token_hybrid", given_routing="random", given_share=0.5))
    given = made("cpu", "token_hybrid", "seed=3", begun=True).supernet._replace(model=model)
    expected = randomly(0.5, generator(3, "random routing"))(0, LOGITS)[..., 0]
    assert torch.equal(kept(given), expected)
    assert torch.equal(kept(given), expected)


@pytest.mark.parametrize(
    ("space", "options", "searches"),
    [
        ("token_hybrid", [], True),
        ("token_hybrid", ["model.routed_layers=[]"], False),
        ("layer_hybrid", ["space.operations=[softmax,linear]"], True),
    ],
)
def test_whether_anything_is_decided(space: str, options: list[str], searches: bool) -> None:
    assert made("cpu", space, *options).supernet.searches is searches


def test_one_architecture_has_a_copy_of_its_weights_and_the_same_costs() -> None:
    supernet = made("cpu", "layer_hybrid", "budget.target=0.5", begun=True).supernet
    supernet.architecture_logits.shares.copy_(torch.rand_like(supernet.architecture_logits.shares))
    code = tuple(min(1, len(own) - 1) for own in supernet.space.options)
    alone = supernet.alone(code)
    assert alone.model.architecture == supernet.space.decode(code)
    assert alone.code == (0,) * len(code)
    assert alone.cost.relative(alone.cost.of(alone.code, {})) == supernet.cost.relative(supernet.cost.of(code, {}))
    assert list(alone.counted) == list(supernet.counted)
    own = [shares[option].item() for shares, option in zip(supernet.architecture_logits.shares, code, strict=True)]
    assert alone.architecture_logits.shares[:, 0].tolist() == own
    weights = supernet.model.state_dict()
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weight, weights[name])
        assert weight.data_ptr() != weights[name].data_ptr()
