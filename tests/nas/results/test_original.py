"""The original beside the result: the same batches, its share and cache, and lengths beyond its context."""

from pathlib import Path

import pytest

from nas.budget.cost import LONG, kv_bytes
from nas.evaluation.evaluate import evaluate
from nas.models.routing import first_alone
from nas.pretrained.original import load_original
from nas.pretrained.stock import build_space
from nas.pretrained.weights import load_pretrained
from nas.results.original import evaluate_original
from nas.supernet.discretised import discretise
from nas.training.module import TrainingModule
from tests.nas.commands import composed
from tests.nas.pretrained.written import write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


@pytest.fixture
def module(tmp_path: Path) -> TrainingModule:
    config = config_of(write_model(tmp_path), "space.operations=[softmax,linear]", "data.length_factors=[1,2]")
    _, task = model_and_task(config)
    made = TrainingModule(build_space(config.space, config.model, task.vocab_size), task, config)
    load_pretrained(made.model, tmp_path)
    return made


def test_it_is_measured_up_to_its_context(module: TrainingModule, tmp_path: Path) -> None:
    validation = {factor: module.task.validation_batches(factor) for factor in (1, 2)}
    found = discretise(module.supernet, module.task, validation, (1, 1))
    row, notes = evaluate_original(module, found, validation)
    assert row is not None
    assert (row.name, list(row.by_factor)) == ("original", [1])
    assert notes == (
        "The original model is not evaluated at 2 times the length: its positions are made for 64 tokens.",
    )
    model, own = load_original(found.architecture, str(tmp_path)), row.at_training_length
    assert own.loss == evaluate(model, validation[1], "recall", first_alone).loss
    assert (own.share, own.kv_bytes) == (1.0, kv_bytes(model.architecture, {}, LONG))
    assert own.lead is not None
    assert own.lead.mean == pytest.approx(found.evaluation.quality - own.quality)


def test_without_its_folder_a_note_says_so(module: TrainingModule, tmp_path: Path) -> None:
    validation = {1: module.task.validation_batches()}
    found = discretise(module.supernet, module.task, validation)
    (tmp_path / "model.safetensors").unlink()
    row, notes = evaluate_original(module, found, validation)
    assert row is None
    assert notes[0].startswith(f"The original model could not be evaluated: model.path={tmp_path}")


def test_other_searches_have_no_original(module: TrainingModule) -> None:
    validation = {1: module.task.validation_batches()}
    found = discretise(module.supernet, module.task, validation)
    module.config = composed("search", "+space=token_hybrid")
    assert evaluate_original(module, found, validation) == (None, ())
