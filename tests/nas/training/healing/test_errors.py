"""Hidden states of a model and of its teacher, and predictions from them."""

from pathlib import Path

import pytest
import torch

from nas.models.policies import learnt
from nas.models.routing import first_alone
from nas.pretrained.original import load_original
from nas.training.healing.errors import hidden_states, predictions, without_gradient
from tests.nas.pretrained.written import GEMMA, write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), **GEMMA)


@pytest.mark.parametrize("recomputes", [False, True])
def test_the_states_are_those_of_the_layers_and_give_the_logits(folder: Path, recomputes: bool) -> None:
    model, task = model_and_task(config_of(folder))
    original, batch = load_original(model.architecture, str(folder)), task.train_batch(0).scored()
    states = hidden_states(original, batch, first_alone, recomputes=recomputes)
    assert [tuple(state.shape) for state in states] == [(*batch.tokens.shape, 16)] * 2
    seen: list[torch.Tensor] = []
    original.blocks[0].register_forward_hook(lambda _, given, made: seen.append(made[0].total))
    logits = original(batch.tokens, first_alone, batch.places).logits
    torch.testing.assert_close(states[0], seen[0])
    torch.testing.assert_close(predictions(original, states[-1], batch), logits)
    (last,) = hidden_states(original, batch, first_alone, every=False)
    torch.testing.assert_close(last, states[-1])


def test_routes_are_the_same_and_have_no_gradient() -> None:
    logits = torch.randn(2, 4, 1, 2, requires_grad=True)
    routes = without_gradient(learnt)(0, logits)
    assert torch.equal(routes, learnt(0, logits))
    assert not routes.requires_grad
    assert without_gradient(first_alone) is first_alone
