"""What the optimiser is told: groups of parameters, and how learning rates move."""

import pytest

from nas.models.language_model import LanguageModel
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.training.updates.optimizer import parameter_groups, router_parameters, routers_of, schedule
from tests.nas.architectures import small
from tests.nas.commands import SEARCH, composed

TRAINER = ("trainer.learning_rate=0.1", "trainer.router_learning_rate=0.2", "trainer.architecture_learning_rate=0.3")


def test_every_parameter_is_in_one_group_and_vectors_routers_and_choices_do_not_decay() -> None:
    options = (Layer("softmax", 4), Layer("token_hybrid", 4))
    space = Space("test", small("token_hybrid", "linear"), (options, (Layer("linear", 4),)))
    model, architecture_logits = LanguageModel(space.sizes, "full", space.options), ArchitectureLogits(space)
    trainer = composed("search", *SEARCH, *TRAINER, "trainer.weight_decay=0.5").trainer
    groups = parameter_groups(model, architecture_logits, trainer)
    told = [id(parameter) for group in groups for parameter in group["params"]]  # type: ignore[attr-defined]
    assert sorted(told) == sorted(id(p) for p in (*model.parameters(), *architecture_logits.parameters()))
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0, 0.0, 0.0]
    assert [group.get("lr") for group in groups] == [None, None, 0.2, 0.3]
    assert [group.get("eps") for group in groups] == [None, None, trainer.router_eps, trainer.router_eps]
    assert all(p.ndim > 1 for p in groups[0]["params"])  # type: ignore[attr-defined]
    assert groups[2]["params"] == router_parameters(model)
    assert len(routers_of(model)) == 1


def test_without_routers_and_choices_there_are_two_groups() -> None:
    space = Space.of(small("linear", "softmax"))
    trainer = composed("search", *SEARCH).trainer
    assert len(parameter_groups(LanguageModel(space.sizes), ArchitectureLogits(space), trainer)) == 2


def test_rates_warm_up_and_fall_by_half_a_cosine() -> None:
    options = ("trainer.steps=110", "trainer.warmup_steps=10", "trainer.final_learning_rate=0.1")
    trainer = composed("search", *SEARCH, *options).trainer
    given = [schedule(step, trainer) for step in range(111)]
    assert given[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert given[10] == 1
    assert given[60] == pytest.approx(0.55)
    assert given[110] == pytest.approx(0.1)
    assert given[10:] == sorted(given[10:], reverse=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", {10: 1, 60: 0.55, 110: 0.1}),
        ("constant", {10: 1, 60: 1, 110: 1}),
        ("wsd", {10: 1, 88: 1, 99: 0.55, 110: 0.1}),
    ],
)
def test_schedules_after_the_warm_up(name: str, expected: dict[int, float]) -> None:
    options = ("trainer.steps=110", "trainer.warmup_steps=10", "trainer.final_learning_rate=0.1")
    trainer = composed("search", *SEARCH, *options, f"trainer.schedule={name}", "trainer.decay_share=0.2").trainer
    assert schedule(4, trainer) == 0.5
    assert {step: schedule(step, trainer) for step in expected} == pytest.approx(expected)
