"""A model in batches: the losses of one pass, and greedy answers."""

import pytest
import torch

from nas.models.decoding import generate
from nas.models.language_model import LanguageModel
from nas.suites import subject as module
from nas.suites.subject import ModelSubject
from tests.nas.architectures import small


def test_predictions_are_those_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(small()).eval()
    sequences = torch.randint(11, (5, 14))
    logits = model(sequences[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), sequences[:, 1:], reduction="none")
    monkeypatch.setattr(module, "LOGITS", 11 * 4)  # four positions at a time
    monkeypatch.setattr(module, "batch_size", lambda *given, **options: 2)
    counts: list[int] = []
    found = ModelSubject(model, model.policy).predict(sequences, counts.append)
    assert torch.allclose(found.losses, expected.detach(), atol=1e-5)
    assert torch.equal(found.hits, logits.argmax(-1) == sequences[:, 1:])
    assert counts == [2, 2, 1]


def test_answers_are_greedy_and_a_full_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(small()).eval()
    prompts = [torch.randint(11, (length,)) for length in (5, 9, 9)]
    sizes: list[int] = []

    def limited(*given: object, **options: object) -> torch.Tensor:
        sizes.append(len(given[1]))  # type: ignore[arg-type]
        if sizes[-1] > 1:
            raise ValueError("tokens do not fit in memory")
        return generate(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "generate", limited)
    counts: list[int] = []
    found = ModelSubject(model, model.policy).answer(prompts, 6, counts.append)
    assert (sizes, counts) == ([3, 1, 1, 1], [1, 1, 1])
    for prompt, answer in zip(prompts, found, strict=True):
        tokens = prompt
        for _ in range(6):
            tokens = torch.cat([tokens, model(tokens[None]).logits[0, -1].argmax()[None]])
        assert torch.equal(answer, tokens[-6:])
