"""Packed documents: a batch of them computes what each of them computes alone, in every layer."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from nas.budget.cost import SOFTMAX_SHARE, SpaceCost
from nas.data.batch import IGNORE, Batch, planted_chunks
from nas.data.documents import Documents
from nas.evaluation.evaluate import evaluate
from nas.models.language_model import LanguageModel, Output, recompute_block, run_block
from nas.models.policies import learnt
from nas.models.routing import LayerChoice, Routing, kept_margin, shares_of
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import ArchitectureLogits
from tests.nas.architectures import small

LENGTHS = (1, 4, 9, 3), (6, 11)
"""Documents of two sequences: of one token, of one chunk, and longer than a chunk."""
INDEX = torch.tensor([[i for i, length in enumerate(own) for _ in range(length)] for own in LENGTHS])
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def tokens(seed: int = 0) -> Tensor:
    return torch.randint(11, INDEX.shape, generator=torch.Generator().manual_seed(seed))


def soft(layer: int, logits: Tensor) -> Tensor:
    """A policy with fractional routes, which differ with the place of a chunk in its document."""
    return (logits + torch.arange(logits.shape[1])[:, None, None] * torch.tensor([0.3, -0.3])).softmax(-1)


def model(architecture: Architecture, options: Sequence[tuple[Layer, ...]] | None = None) -> LanguageModel:
    """In float64, with weights so large that routes and logits differ from token to token."""
    torch.manual_seed(3)
    made = LanguageModel(architecture, "full", None if options is None else tuple(options)).double()
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return made


def hybrid(mixer: str, chunk_size: int) -> Layer:
    return Layer(mixer, chunk_size)  # type: ignore[arg-type]


JOINT = tuple(hybrid(*one) for one in (("softmax", 4), ("linear", 4), ("token_hybrid", 4), ("token_hybrid", 2)))
MODELS: dict[str, Callable[[], LanguageModel]] = {
    "softmax": lambda: model(small("softmax", "softmax", rope_base=100.0, log_n=True)),
    "window": lambda: model(small("window", "softmax", rope_base=100.0, log_n=True)),
    "linear": lambda: model(small("linear", negative_eigenvalues=True)),
    "token_hybrid": lambda: model(small("token_hybrid", "token_hybrid", rope_base=100.0)),
    "features": lambda: model(small("token_hybrid", chunk_size=3, router_features="mean+max+last")),
    "joint": lambda: model(small("softmax", "linear"), [JOINT, JOINT]),
    "recomputed": lambda: model(small("softmax", "linear", rope_base=100.0)),
}
"""Models by what they mix with; joint computes mixtures of all its options."""


def mixture(made: LanguageModel) -> list[LayerChoice] | None:
    if len(made.options[0]) == 1:
        return None
    return [LayerChoice(None, torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)) for _ in made.options]


def losses(output: Output, weights: Tensor) -> Tensor:
    """A sum over tokens that depends on all logits; routes count too, so that their gradients are compared."""
    return (output.logits.square() * weights).sum()


@pytest.mark.parametrize("kind", MODELS)
def test_a_packed_batch_is_its_documents_one_by_one(kind: str) -> None:
    made, given, documents = MODELS[kind](), tokens(), Documents.of(INDEX)
    weights = torch.randn(*INDEX.shape, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    run = recompute_block if kind == "recomputed" else run_block
    packed = made(given, soft, layer_choices=mixture(made), run=run, documents=documents)
    losses(packed, weights).backward()
    gradients = {name: p.grad for name, p in made.named_parameters()}
    made.zero_grad()
    bounds = documents.cu_seqlens.tolist()
    parts = list(pairwise(bounds))
    alone = [made(given.flatten()[None, a:b], soft, layer_choices=mixture(made)) for a, b in parts]
    for (a, b), one in zip(parts, alone, strict=True):
        losses(one, weights.flatten(0, 1)[None, a:b]).backward()
    torch.testing.assert_close(packed.logits.flatten(0, 1), torch.cat([one.logits[0] for one in alone]), **EXACT)
    assert packed.logits.shape == (*INDEX.shape, 11)
    for name, parameter in made.named_parameters():
        assert (parameter.grad is None) == (gradients[name] is None), name
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-10, msg=name)
    for layer, decided in packed.routing.items():
        for number, routing in enumerate(decided):
            each = [one.routing[layer][number] for one in alone]
            for part in ("logits", "weights"):
                together = torch.cat([getattr(one, part) for one in each], dim=1)
                torch.testing.assert_close(getattr(routing, part), together, **EXACT)
    assert bool(packed.routing) == (kind in ("token_hybrid", "features", "joint"))


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_no_token_depends_on_another_document(kind: str) -> None:
    made, given, other, documents = MODELS[kind](), tokens(), tokens(seed=1), Documents.of(INDEX)
    before = made(given, learnt, layer_choices=mixture(made), documents=documents).logits
    for sequence, document in ((0, 2), (1, 0)):
        own = torch.zeros_like(INDEX, dtype=torch.bool)
        own[sequence] = INDEX[sequence] == document
        after = made(torch.where(own, given, other), learnt, layer_choices=mixture(made), documents=documents).logits
        assert torch.equal(after[own], before[own])
        assert not torch.equal(after[~own], before[~own])


def test_a_given_routing_counts_chunks_from_the_start_of_each_document() -> None:
    made = model(small("token_hybrid", chunk_size=2, given_routing="strided", given_share=0.5))
    (routing,) = made(tokens(), documents=Documents.of(INDEX)).routing[0]
    kept = routing.weights[0, :, 0, 0].int().tolist()
    assert kept == [0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1][: len(kept)]


def test_a_chunk_counts_by_its_tokens() -> None:
    made = model(small("token_hybrid"))
    (routing,) = made(tokens(), learnt, documents=Documents.of(INDEX)).routing[0]
    assert routing.tokens is not None
    assert routing.tokens.tolist() == [1, 4, 4, 4, 1, 3, 4, 2, 4, 4, 3]
    kept = torch.cat([torch.full((n,), float(one)) for n, one in zip(routing.tokens.tolist(), range(11), strict=True)])
    values = torch.arange(11.0)[None, :, None].expand(1, 11, 2)
    torch.testing.assert_close(routing.mean(values), kept.mean())
    by_token = (kept_margin(routing)[0].repeat_interleave(routing.tokens, 0) >= 0).double().mean()
    torch.testing.assert_close(shares_of(routing)[1], by_token)
    twice = Routing.joined([routing, routing])
    assert twice.logits.shape[1] == 22
    torch.testing.assert_close(twice.mean(torch.cat([values, values], 1)), kept.mean())
    space = Space.of(made.architecture)
    cost, margins = SpaceCost(SOFTMAX_SHARE, space, context=64), kept_margin(routing).float()
    by_chunk = torch.tensor([routing.mean((margins >= margin).float()) for margin in margins.flatten()])
    for target in (0.2, 0.5):
        threshold = ArchitectureLogits(space).threshold_of(cost, {0: [routing]}, (0,), target)
        share = routing.mean((margins >= threshold).float())
        assert (share - target).abs() <= (by_chunk - target).abs().min() + 1e-6


def test_an_evaluation_counts_positions_from_the_start_of_each_document() -> None:
    made, given = model(small("token_hybrid", "softmax")), tokens()
    targets = tokens(seed=2).masked_fill(INDEX == 0, IGNORE)
    planted = torch.zeros_like(INDEX, dtype=torch.bool)
    planted[0, [0, 16]] = planted[1, 10] = True
    batch = Batch(given, targets, planted, INDEX.int())
    found = evaluate(made, [batch, batch.rows(slice(1, 2))], "bits_per_token")
    first, second = given[1, :6], given[1, 6:]
    alone = [Batch(one[None], tokens(seed=2)[1:, a:b], None) for one, a, b in ((first, 0, 6), (second, 6, 17))]
    only = evaluate(made, [batch.rows(slice(1, 2))], "bits_per_token")
    assert only.loss == pytest.approx(evaluate(made, alone[1:], "bits_per_token").loss)
    assert only.by_position is not None
    assert [end for end, _ in only.by_position] == [11]
    assert len(found.by_sequence) == 3
    (counts,) = found.counts_by_layer.values()
    assert counts.planted == 4
    assert planted_chunks(planted, 4, Documents.of(INDEX)).nonzero()[:, 1].tolist() == [0, 5, 9]


def test_a_batch_without_targets_has_no_loss() -> None:
    made, given = model(small("token_hybrid")), tokens()
    batch = Batch(given, torch.full_like(given, IGNORE), None, INDEX).scored()
    logits = made(given, learnt, batch.places, documents=batch.documents).logits
    assert logits.shape == (0, 11)
    logits.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in made.parameters())


def test_the_longest_document_is_that_of_the_first_sequence() -> None:
    batch = Batch(tokens(), tokens(), None, INDEX)
    shown = batch.longest_document()
    assert shown.documents is None
    assert torch.equal(shown.tokens, tokens()[:1, 5:14])
    assert torch.equal(batch._replace(documents=None).longest_document().tokens, tokens()[:1])


def test_borders_stay_on_the_host() -> None:
    documents = Documents.of(INDEX)
    assert documents.cu_seqlens.tolist() == [0, 1, 5, 14, 17, 23, 34]
    moved = documents.to("meta")
    batch = move_data_to_device(Batch(tokens(), tokens(), None, INDEX).scored(), "meta")  # as Lightning moves it
    assert batch.tokens.device.type == batch.documents.start.device.type == "meta"
    assert moved.cu_seqlens.device.type == batch.documents.cu_seqlens.device.type == "cpu"
    assert moved.start.device.type == moved.chunks(4).places.device.type == "meta"
    assert documents.longest == moved.longest == 11
