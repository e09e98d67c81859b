"""A hand-designed hybrid starts as softmax attention in the layers in which a search has routers."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from nas.data import build_task
from nas.errors import UserError
from nas.search_spaces import baselines
from nas.search_spaces.space import Space
from nas.supernet.dense_start import dense_layers
from nas.training.module import TrainingModule
from nas.training.step.moment import Moment
from nas.workflows.train import run_training
from tests.nas.commands import SHORT, SMALL, composed

PATTERN = ("architecture=linear-window-softmax-linear", "model.layers=4", "dense_start=true")


@pytest.mark.parametrize(
    ("given", "layers"),
    [
        (("model.routed_layers=[1,2]",), (1,)),
        ((), (0, 1, 3)),
        (("dense_start=false",), ()),
    ],
)
def test_routed_layers_without_softmax_start_as_softmax(given: tuple[str, ...], layers: tuple[int, ...]) -> None:
    config = composed("train", *SMALL, *PATTERN, *given)
    architecture = baselines.build(config.architecture, config.model, 24, 1.0)
    assert architecture is not None
    assert dense_layers(config, architecture) == layers


def test_the_dense_phase_computes_the_same_as_softmax_in_these_layers() -> None:
    config = composed("train", *SMALL, *PATTERN, "model.routed_layers=[1,3]")
    task = build_task(config.data, 0)

    def losses(name: str, layers: tuple[int, ...], weights: dict[str, torch.Tensor] | None = None) -> tuple[float, ...]:
        architecture = baselines.build(name, config.model, task.vocab_size, 1.0)
        assert architecture is not None
        module = TrainingModule(Space.of(architecture), task, config, dense_layers=layers)
        states.append(module.model.state_dict())
        if weights is not None:
            module.model.load_state_dict(weights, strict=False)
        batch = task.train_batch(0).scored()
        moments = (Moment(dense, 1.0, 1.0, 0.0) for dense in (True, False))
        return tuple(module.step.compute(batch, moment).loss.item() for moment in moments)

    states: list[dict[str, torch.Tensor]] = []
    start, after = losses("linear-window-softmax-linear", (1, 3))
    assert start == pytest.approx(losses("linear-softmax-softmax-softmax", (), states[0])[0], rel=1e-6)
    assert after == pytest.approx(losses("linear-window-softmax-linear", (), states[0])[1], rel=1e-6)
    assert start != after


def test_the_architecture_takes_over_and_is_what_is_saved(tmp_path: Path) -> None:
    options = (
        *PATTERN,
        *SHORT,
        "trainer.steps=4",
        "budget.dense_until=0.5",
        "budget.learnt_at=0",
        f"output={tmp_path}",
    )
    outcome = run_training(composed("train", *SMALL, *options), Console(file=io.StringIO()))
    assert outcome.status == 0
    assert outcome.module.budget.began.item() == 0.5
    assert outcome.discretised is not None
    assert outcome.discretised.architecture.mixers == ("linear", "window", "softmax", "linear")
    assert "blocks.0.mixer.softmax_norm.weight" in outcome.module.model.state_dict()
    assert "blocks.0.mixer.softmax_norm.weight" not in outcome.discretised.model.state_dict()


@pytest.mark.parametrize("option", ["budget.start=cheapest", "budget.dense_until=1"])
def test_a_start_that_is_not_dense_or_never_ends_is_refused(option: str) -> None:
    config = composed("train", *SMALL, *PATTERN, option)
    architecture = baselines.build(config.architecture, config.model, 24, 1.0)
    assert architecture is not None
    with pytest.raises(UserError, match="dense_start=true"):
        dense_layers(config, architecture)
