"""Muon beside AdamW: which parameters it trains, and that both are one optimiser."""

import copy

import torch

from nas.models.language_model import LanguageModel
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.training.updates.muon import Together, muon_parameters
from nas.training.updates.optimizer import build_optimizer, router_parameters
from tests.nas.architectures import small
from tests.nas.commands import SEARCH, composed


def made() -> tuple[LanguageModel, Together]:
    options = (Layer("softmax", 4), Layer("token_hybrid", 4))
    space = Space("test", small("token_hybrid", "linear"), (options, (Layer("linear", 4),)))
    torch.manual_seed(0)
    model, logits = LanguageModel(space.sizes, "full", space.options), ArchitectureLogits(space)
    trainer = composed("search", *SEARCH, "trainer.optimizer=muon", "trainer.weight_decay=0.5").trainer
    optimizer = build_optimizer(model, logits, trainer, on_gpu=False)
    assert isinstance(optimizer, Together)
    for number, parameter in enumerate((*model.parameters(), *logits.parameters())):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return model, optimizer


def test_muon_trains_the_matrices_of_blocks_and_adamw_everything_else() -> None:
    model, optimizer = made()
    first, *rest = optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = {names[id(p)] for p in first["params"]}
    assert matrices == {names[id(p)] for p in muon_parameters(model)}
    assert all(name.startswith("blocks.") and "router" not in name and "convolution" not in name for name in matrices)
    assert {name.split(".", 2)[2] for name in matrices} >= {"mixer.q.weight", "mlp.down.weight", "mixer.out.weight"}
    others = [id(p) for group in rest for p in group["params"]]
    assert {id(p) for p in (model.embedding.weight, model.head.weight, *router_parameters(model))} <= set(others)
    assert len(others) == len(set(others)) == len(set(names)) + 1 - len(matrices)
    assert first["weight_decay"] == 0.5


def test_updates_of_muon_are_orthogonal_and_of_the_size_of_adamw() -> None:
    model, optimizer = made()
    optimizer.param_groups[0]["weight_decay"] = 0.0
    (weight, *_), before = optimizer.param_groups[0]["params"], copy.deepcopy(model.state_dict())
    name = next(name for name, p in model.named_parameters() if p is weight)
    optimizer.step()
    update = (before[name] - weight) / optimizer.param_groups[0]["lr"]
    values = torch.linalg.svdvals(update) / (0.2 * max(update.shape) ** 0.5)
    assert values.min() > 0.3
    assert values.max() < 1.7
    assert not torch.equal(before["embedding.weight"], model.embedding.weight)


def test_a_restored_optimiser_goes_on_as_the_first() -> None:
    model, optimizer = made()
    optimizer.step()
    again, restored = made()
    again.load_state_dict(model.state_dict())
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in (optimizer, restored):
        one.param_groups[0]["lr"] = 0.5  # as a schedule sets it
        one.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
