"""`python -m nas.search searcher=rule`: layers that a rule places, trained by the stages of a search."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.runs.model_files import load_architecture
from nas.searchers import rule
from nas.supernet.draws import choices_of_layers
from nas.training.module import TrainingModule
from tests.nas.commands import MODEL, SMALL, Ended, contents, nas, refusal
from tests.nas.interrupting import interrupt_at
from tests.nas.pretrained.written import GEMMA, write_model

SPACE = ("+space=layer_hybrid", *SMALL, "model.layers=4", "space.operations=[softmax,linear]", "searcher=rule")
PLAIN = [option for option in SMALL if option not in MODEL]
PRETRAINED = ("+space=layer_hybrid", *PLAIN, "model.chunk_size=8", "searcher=rule", "model=pretrained")


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def found(ended: Ended) -> str:
    assert ended.status == 0, ended.err
    return "".join(mixer[0] for mixer in load_architecture(ended.run / "architecture.json").mixers)


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (("budget.target=0.25",), "llls"),
        (("budget.target=0.7",), "lsls"),
        (("budget.target=0.1",), "llll"),
        (("budget.target=1",), "ssss"),
        (("budget.target=0.34", "space.layers=[0,1,2]"), "llsl"),
    ],
)
def test_as_many_layers_as_the_budget_allows_are_spaced_evenly(
    tmp_path: Path, options: tuple[str, ...], pattern: str
) -> None:
    ended = nas("search", *SPACE, *options, f"output={tmp_path}")
    assert found(ended) == pattern
    assert "Placed by the rule uniform: " in ended.out
    metrics = read(ended.run, "metrics.json")
    assert metrics["searched"] is None
    assert [choice["found"][0] for choice in metrics["choices"]] == list(pattern)


def test_random_layers_are_those_of_the_seed(tmp_path: Path) -> None:
    patterns = [
        found(nas("search", *SPACE, "searcher.rule=random", "budget.target=0.5", f"seed={seed}", f"output={tmp_path}"))
        for seed in (0, 0, 1, 2, 3)
    ]
    assert all(pattern.count("s") == 2 for pattern in patterns)
    assert patterns[0] == patterns[1]
    assert len(set(patterns)) > 1


def test_the_layers_of_a_pretrained_model_with_full_attention_are_kept(tmp_path: Path) -> None:
    layers = ["full_attention", "sliding_attention", "sliding_attention"]
    folder = write_model_in(tmp_path / "model", **GEMMA | {"layer_types": layers}, num_hidden_layers=3)
    options = ("space.operations=[softmax,linear]", "budget.target=0.67", "align.steps=0", "heal.steps=0")
    ended = nas("search", *PRETRAINED, f"model.path={folder}", "searcher.rule=original", *options, f"output={tmp_path}")
    assert found(ended) == "sll"


def test_greedy_removes_the_layer_that_changes_predictions_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model_in(tmp_path / "model", num_hidden_layers=3)
    options = ("space.operations=[softmax,linear]", "budget.target=0.34", "align.steps=2", "heal.steps=2")
    modules = list[TrainingModule]()
    greedily = rule._greedily

    def watched(module: TrainingModule, *given: Any) -> Any:
        modules.append(module)
        return greedily(module, *given)

    monkeypatch.setattr(rule, "_greedily", watched)
    ended = nas("search", *PRETRAINED, f"model.path={folder}", "searcher.rule=greedy", *options, f"output={tmp_path}")
    pattern = found(ended)
    assert pattern.count("s") == 1
    removed = read(ended.run, "placement.json")["removed"]
    assert sorted(layer for layer, _ in removed) == [layer for layer, letter in enumerate(pattern) if letter == "l"]
    assert (ended.run / "alignment").is_dir(), "before the layers are placed"
    assert (ended.run / "healing").is_dir()
    (module,) = modules
    batches = module.task.selection_batches(8)
    softmax, linear = 0, 1

    def divergence(*layers: int) -> float:
        """KL in float64, of a model without softmax attention in these layers."""
        code = tuple(linear if layer in layers else softmax for layer in range(3))
        each = []
        for batch in batches:
            scored = batch.scored()
            logits = [
                module.model(scored.tokens, None, scored.places, choices_of_layers(one)).logits.flatten(0, -2).double()
                for one in ((softmax,) * 3, code)
            ]
            original, own = (one.log_softmax(-1) for one in logits)
            each.append((original.exp() * (original - own)).sum(-1))
        return float(torch.cat(each).mean())

    with torch.no_grad():
        first = {layer: divergence(layer) for layer in range(3)}
        assert removed[0][0] == min(first, key=lambda layer: first[layer])
        assert removed[0][1] == pytest.approx(min(first.values()), rel=1e-3)
        assert removed[1][1] == pytest.approx(divergence(*(layer for layer, _ in removed)), rel=1e-3)


def test_a_stopped_training_resumes_with_its_placement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nas("search", *SPACE, "searcher.rule=random", "budget.target=0.5", f"output={tmp_path}")
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        stopped = nas("search", *SPACE, "searcher.rule=random", "budget.target=0.5", f"output={tmp_path}")
    assert stopped.status == 130
    assert nas("search", f"resume={stopped.run}").status == 0
    assert contents(stopped.run)["model.safetensors"] == contents(whole.run)["model.safetensors"]
    (stopped.run / "placement.json").write_text("{}")
    assert "placement.json is damaged" in refusal("search", f"resume={stopped.run}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("searcher.rule=other",), "searcher.rule=other is unknown; choose one of: uniform, random, original, greedy."),
        (("searcher.rule=greedy",), "searcher.rule=greedy needs a pretrained model, but model=tiny starts from random"),
        (("space.operations=[window,linear]",), "add softmax to space.operations"),
        (("budget.exact=true",), "give budget.exact=false"),
        (("searcher.select_at=0.5",), "searcher.select_at=0.5 has no place in searcher=rule"),
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    assert message in refusal("search", *SPACE, *options, f"output={tmp_path}")


def test_a_model_without_windows_has_no_layers_of_its_own_to_keep(tmp_path: Path) -> None:
    folder = write_model_in(tmp_path / "model")
    given = (*PRETRAINED, f"model.path={folder}", "searcher.rule=original", f"output={tmp_path}")
    assert "have full attention; give searcher.rule=uniform or greedy" in refusal("search", *given)


def write_model_in(folder: Path, **fields: Any) -> Path:
    folder.mkdir()
    return write_model(folder, **fields)
