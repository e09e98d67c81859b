"""Results that are computed again: gradients stay the same bits, and less is kept."""

import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nas.models import recomputation
from nas.models.language_model import Block, Stream, recompute_block
from nas.models.mixers import TokenMixer
from nas.models.recomputation import recomputable, recomputing, without_recomputing
from nas.models.routing import FIRST_OPTION
from nas.search_spaces.architecture import Architecture
from tests.nas.architectures import small


@pytest.fixture
def worthwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute again on the CPU and at any size."""
    monkeypatch.setattr(recomputation, "large_on_gpu", lambda x: True)


class Calls:
    """A function that counts its calls, and whether its first results still exist."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self.count = 0
        self._first: weakref.ref[Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        self.count += 1
        made = self._function(x)
        self._first = self._first or weakref.ref(made)
        return made

    @property
    def kept(self) -> bool:
        """Whether the first result is still in memory."""
        assert self._first is not None
        return self._first() is not None


def of_two(first: Calls, second: Calls, x: Tensor, scope: bool) -> Tensor:
    """A chain of two functions whose results are read as they are, as a view, and as a part."""
    with recomputing(x) if scope else without_recomputing():
        one = recomputable(first, x * 1)
        two = recomputable(second, one)
        return (one.mT.square().mT * two + two[:, 1:2].square() * one.unflatten(1, (3, 1)).square().sum(2)).sum()


@pytest.mark.usefixtures("worthwhile")
def test_results_are_computed_once_more_and_not_kept() -> None:
    gradients = {}
    for scope in (False, True):
        first, second = Calls(torch.sin), Calls(torch.sigmoid)
        x = torch.linspace(-1, 2, 12).view(4, 3).requires_grad_()
        y = of_two(first, second, x, scope)
        assert (first.kept, second.kept) == (not scope, not scope)
        gradients[scope] = torch.autograd.grad(y, x, retain_graph=True)[0]
        assert (first.count, second.count) == ((2, 2) if scope else (1, 1))
        assert torch.equal(torch.autograd.grad(y, x)[0], gradients[scope]), "the graph can be used again"
        assert (first.count, second.count) == ((2, 2) if scope else (1, 1))
    assert torch.equal(gradients[True], gradients[False])


def test_nothing_is_computed_again_on_a_cpu_or_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(x: Tensor) -> tuple[int, bool]:
        calls = Calls(torch.sin)
        with recomputing(x):
            y = recomputable(calls, x).square().sum()
        kept = calls.kept
        if y.requires_grad:
            y.backward()
        return calls.count, kept

    x = torch.randn(4, requires_grad=True)
    assert counted(x) == (1, True)
    monkeypatch.setattr(recomputation, "large_on_gpu", lambda x: True)
    assert counted(x) == (2, False)
    with without_recomputing():
        assert counted(x) == (1, True)
    with torch.no_grad():
        assert counted(x) == (1, False)


def gradients_of(mixer: TokenMixer, x: Tensor, autocast: bool = False) -> list[Tensor]:
    """The output, and the gradients of the input and of all parameters."""
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        y, _ = mixer(x, lambda layer, logits: logits.softmax(-1))
    return [y.detach(), *torch.autograd.grad(y.float().square().mean(), [x, *mixer.parameters()])]


@pytest.mark.usefixtures("worthwhile")
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "architecture",
    [small("token_hybrid", rope_base=100.0, log_n=True), small("linear"), small("softmax"), small("window")],
    ids=lambda a: a.mixers[0],
)  # fmt: skip
def test_a_mixer_has_the_same_gradients(
    architecture: Architecture, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixer, x = TokenMixer(architecture, 0, "full"), torch.randn(2, 9, 12)
    again: list[int] = []
    result = recomputation._Call.result
    monkeypatch.setattr(recomputation._Call, "result", lambda *given: again.append(1) or result(*given))  # type: ignore[func-returns-value]
    made = gradients_of(mixer, x, autocast)
    if architecture.mixers[0] == "token_hybrid" and not autocast:
        assert again, "elsewhere the reference keeps casts and copies alone"
    with without_recomputing():
        expected = gradients_of(mixer, x, autocast)
    assert all(map(torch.equal, made, expected))


@pytest.mark.usefixtures("worthwhile")
def test_a_compiler_sees_one_graph() -> None:
    def chain(x: Tensor) -> Tensor:
        with recomputing(x):
            return recomputable(torch.sin, x).square()

    x = torch.randn(3, requires_grad=True)
    assert torch.equal(torch.compile(chain, backend="eager", fullgraph=True)(x), chain(x))


@pytest.mark.usefixtures("worthwhile")
def test_a_block_that_is_computed_twice_keeps_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    regions: list[str] = []
    monkeypatch.setattr(recomputation._Region, "__init__", lambda self, device: regions.append(device))
    architecture = small("linear")
    block, x = Block(architecture, 0, "full", architecture.layers), torch.randn(1, 5, 12, requires_grad=True)
    recompute_block(0, block, Stream(x), lambda layer, logits: logits, FIRST_OPTION)[0].total.sum().backward()
    assert x.grad is not None
    assert regions == []


@pytest.mark.gpu
@pytest.mark.parametrize("mixer", ["token_hybrid", "linear", "softmax"])
def test_a_large_mixer_keeps_no_convolution_and_no_norm(mixer: str) -> None:
    torch.manual_seed(0)
    tokens, keys, values = 8192, 768, 1536
    architecture = small(
        mixer, width=1024, linear_heads=6, key_dim=128, value_dim=256, softmax_heads=12, routing_heads=6, chunk_size=64
    )
    with torch.device("cuda"):
        made = TokenMixer(architecture, 0, "full").bfloat16()
        x = torch.randn(2, tokens // 2, 1024).bfloat16()

    def activations() -> int:
        before = torch.cuda.memory_allocated()
        y, _ = made(given, lambda layer, logits: logits.softmax(-1))
        after = torch.cuda.memory_allocated()
        assert y.requires_grad
        return after - before

    given = x.requires_grad_()
    activations()  # initialises libraries
    fewer = activations()
    with without_recomputing():
        saved = activations() - fewer
        expected = gradients_of(made, x)
    norms = {"token_hybrid": 4 * keys, "linear": 0, "softmax": 2 * keys}[mixer]  # the convolution normalises for linear
    assert saved >= 2 * tokens * (2 * keys + values + norms)
    for again, once in zip(gradients_of(made, x), expected, strict=True):
        scale = once.float().abs().max().item()
        assert torch.allclose(again.float(), once.float(), rtol=0, atol=0.02 * scale), "dq of softmax may differ a bit"


@pytest.mark.gpu
@pytest.mark.usefixtures("worthwhile")
def test_both_passes_can_be_recorded() -> None:
    torch.manual_seed(0)
    architecture = small("linear", width=64, key_dim=32, value_dim=32, chunk_size=64)
    with torch.device("cuda"):
        mixer, x = TokenMixer(architecture, 0, "full").bfloat16(), torch.randn(2, 200, 64).bfloat16()
    with without_recomputing():
        expected = gradients_of(mixer, x)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        gradients_of(mixer, x)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        recorded = gradients_of(mixer, x)
    graph.replay()
    torch.cuda.synchronize()
    for own, right in zip(recorded, expected, strict=True):  # cuBLAS may choose another product in a recording
        assert (own.float() - right.float()).norm() <= 0.01 * right.float().norm()
