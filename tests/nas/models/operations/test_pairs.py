"""Two branches together: fused kernels give what the branches give one by one."""

from typing import cast

import pytest
import torch
from torch import Tensor

from nas.models.mixers import TokenMixer
from nas.models.operations import Branch, find
from nas.models.operations.operation import Projected
from nas.models.operations.pairs import FUSED, Pair, SoftmaxAndLinear, pair_of
from nas.models.policies import learnt
from nas.models.routing import LayerChoice
from tests.kernels.triton_cases import on_cpu
from tests.nas.architectures import small
from tests.nas.models.launches import count

T, CHUNK = 10, 4


def branches(*names: str) -> tuple[Branch, Branch]:
    first, second = (cast(Branch, find(name)) for name in names)
    return first, second


def test_a_pair_without_fused_kernels_is_computed_one_by_one() -> None:
    assert type(pair_of(branches("softmax", "linear"))) is SoftmaxAndLinear
    assert type(pair_of(branches("window", "linear"))) is Pair
    assert all(name in FUSED for name in [("softmax", "linear")])


@pytest.mark.parametrize("mixed", [False, True], ids=["merged", "mixed"])
@pytest.mark.parametrize("rope_base", [None, 100.0], ids=["no positions", "rotary"])
def test_fused_kernels_give_what_the_branches_give(rope_base: float | None, mixed: bool) -> None:
    mixer = TokenMixer(small("token_hybrid", rope_base=rope_base, log_n=rope_base is not None), 0, "full").double()
    a = mixer.architecture
    x, gate = torch.randn(2, T, a.width).double(), torch.randn(2, T, a.linear_heads * a.value_dim).double()
    q, k = torch.randn(2, 2, T, a.linear_heads * a.key_dim).double().unbind()
    given = Projected(x, q, k, torch.randn(2, T, a.linear_heads * a.value_dim).double())
    kept = torch.rand(2, -(-T // CHUNK), a.routing_heads).double()

    def output(pair: Pair) -> Tensor:
        heads = pair.heads(mixer, given)
        o = pair.attend(mixer, heads, given.v, (kept, 1 - kept), CHUNK, "full")
        return pair.mix(mixer, o, scores, gate, weights) if mixed else pair.merge(mixer, o, scores, gate)

    weights, scores = torch.rand(3).double().unbind(), mixer.branch_score(q)
    both = branches("softmax", "linear")
    torch.testing.assert_close(output(SoftmaxAndLinear(both)), output(Pair(both)))


@on_cpu
@pytest.mark.filterwarnings("ignore:divide by zero")  # the interpreter's logarithm of a route of 0
@torch.no_grad()
def test_a_mixture_with_a_router_merges_its_branches_in_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    a = small("softmax", "linear", "token_hybrid", key_dim=8, value_dim=8, chunk_size=16)
    mixer = TokenMixer(a, 0, "full", a.layers)
    x, weights = torch.randn(1, T, mixer.architecture.width), torch.full((3,), 1 / 3)
    launches = count(lambda: mixer(x, learnt, LayerChoice(None, weights)), monkeypatch)
    assert launches["branch_merge.forward"] == launches["mixed_routes.forward"] == 1
    assert launches["sum"] == 0, "a single part needs no sum"
