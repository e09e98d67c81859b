"""Compiled blocks: the same training, and one message where no compiler is."""

import pytest
import torch

from nas.data.documents import Documents
from nas.errors import UserError
from nas.models.language_model import LanguageModel, run_block
from nas.models.policies import learnt
from nas.training.module import TrainingModule
from nas.training.step import compiled
from nas.training.step.compiled import Compiled, check_compiler
from tests.nas.architectures import small
from tests.nas.commands import SEARCH, refusal
from tests.nas.training.test_module import first_batch, made


def test_a_compiled_step_is_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiled, "BACKEND", backend)
    found, counts = [], []
    for compile_ in ("false", "true"):
        module = made("cpu", f"trainer.compile={compile_}", "relaxation=gumbel", "model.layers=1", begun=True)
        for step in range(2):
            monkeypatch.setattr(TrainingModule, "global_step", step)
            module.zero_grad()
            module.training_step(first_batch(module), step).backward()
            counts.append(len(graphs))
        found.append({name: p.grad for name, p in module.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert counts[:2] == [0, 0]
    assert counts[3] == counts[2] > 0  # a later temperature needs no further graph


def test_blocks_are_not_compiled_for_packed_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", lambda graph, _: pytest.fail("compiled"))
    model, tokens = LanguageModel(small("token_hybrid")), torch.randint(11, (2, 8))
    documents = Documents.of((torch.arange(8) > 2).int().expand(2, 8))
    given = (tokens, learnt, None, None)
    assert torch.equal(model(*given, Compiled(1), documents).logits, model(*given, run_block, documents).logits)


def test_a_cpu_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        UserError, match=r"trainer.compile=true needs the C\+\+ compiler no-such-compiler, .* install it"
    ):
        check_compiler(torch.device("cpu"))
    message = refusal("search", *SEARCH, "trainer.compile=true", "trainer.cuda_graphs=true")
    assert "trainer.compile=true and trainer.cuda_graphs=true exclude each other" in message
