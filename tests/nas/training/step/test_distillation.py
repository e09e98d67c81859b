"""Distillation: from the weights at the end of the dense phase, which nothing changes and checkpoints keep."""

from pathlib import Path

import pytest
import torch

from nas.cli.checks import check_together
from nas.errors import UserError
from nas.models.language_model import LanguageModel
from nas.pretrained.stock import build_space
from nas.pretrained.weights import load_pretrained
from nas.training.module import TrainingModule
from nas.training.restoring import unfit
from nas.training.step.distillation import Teacher, divergence
from tests.nas.commands import SEARCH, composed
from tests.nas.pretrained.written import GEMMA, architecture_of, write_model
from tests.nas.training.alignment.searches import config_of, model_and_task
from tests.nas.training.graphs.test_cuda_graphs import trained, without_gpu
from tests.nas.training.test_module import first_batch, made

__all__ = ["without_gpu"]

DISTILLED = ("budget.distillation=2", "budget.dense_until=0.4", "budget.learnt_at=0", "budget.tighten_over=0.4")


def test_the_weights_of_the_teacher_are_those_at_the_end_of_the_dense_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    module = made("cpu", *DISTILLED)
    assert module.teacher is not None
    ended: list[dict[str, torch.Tensor]] = []
    keep = Teacher.keep

    def seen(self: Teacher, model: LanguageModel) -> None:
        ended.append({name: x.clone() for name, x in model.state_dict().items()})
        keep(self, model)

    monkeypatch.setattr(Teacher, "keep", seen)
    rows = trained(module)
    (kept,) = ended
    taught = module.teacher.model.state_dict()
    assert all(torch.equal(x, kept[name]) for name, x in taught.items())
    assert any(not torch.equal(x, taught[name]) for name, x in module.model.state_dict().items())
    assert ["distillation" in row for row in rows] == [False] * 4 + [True] * 2
    weights = [module.budget.distillation(progress) for progress in (0.5, 0.7, 0.9)]
    assert weights == pytest.approx([2.0, 1.0, 0.0], abs=1e-6)


def test_the_loss_has_the_divergence_in_proportion_to_its_weight() -> None:
    module = made("cpu", *DISTILLED, "budget.price=0", "budget.gain=0", "budget.rate=0", begun=True)
    batch, moment = first_batch(module), module.moment
    for weight in (0.0, 3.0):
        loss, figures = module.step.compute(batch, moment._replace(distillation=weight))
        assert figures["distillation"] > 0
        assert loss.item() == pytest.approx((figures["loss"] + weight * figures["distillation"]).item(), rel=1e-6)
    policy, layer_choices = module.routes.start
    dense = module.model(batch.tokens, policy, batch.places, layer_choices)
    assert module.teacher is not None
    same = module.teacher.divergence(dense.logits.flatten(0, -2), batch)
    assert same.abs().max() < 1e-6


def test_recorded_steps_distil_as_computed_ones_do(request: pytest.FixtureRequest) -> None:
    given = (*DISTILLED, "budget.route_dropout_over=0.5", "budget.loss_margin=0.001")
    computed = trained(made("cpu", *given))
    request.getfixturevalue("without_gpu")
    module = made("cpu", *given)
    replayed = trained(module)
    assert module.recorded.count
    for one, other in zip(computed, replayed, strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True)


def test_the_teacher_is_part_of_checkpoints() -> None:
    module, restored = made("cpu", *DISTILLED), made("cpu", *DISTILLED, "seed=1")
    trained(module, steps=4)
    restored.load_state_dict(module.state_dict())
    assert not restored.budget.dense
    batch, moment = first_batch(module), module.moment
    found = [one.step.compute(batch, moment).figures["distillation"].item() for one in (module, restored)]
    assert found[0] == found[1] > 0
    parts = {"optimizer_states": [], "lr_schedulers": [], "loops": {}, "callbacks": {}}
    without = {name: x for name, x in module.state_dict().items() if not name.startswith("teacher.")}
    assert "teacher.model.embedding.weight is missing" in str(unfit({"state_dict": without, **parts}, module))


def test_options_that_cannot_be_combined_are_named() -> None:
    with pytest.raises(UserError, match=r"budget\.by_layer=true needs layers that are learnt.*; give"):
        check_together(composed("search", *SEARCH, "relaxation=uniform", "budget.by_layer=true"))
    with pytest.raises(UserError, match=r"budget\.distillation=2 keeps a whole copy .*; give trainer\.strategy=ddp"):
        check_together(composed("search", *SEARCH, *DISTILLED, "trainer.strategy=fsdp"))


def original_of(folder: Path) -> TrainingModule:
    """A module of a search that distils the pretrained model, with its weights."""
    config = config_of(folder, "align.distillation=2", "budget.price=0", "budget.gain=0", "budget.rate=0")
    model, task = model_and_task(config)
    module = TrainingModule(build_space(config.space, config.model, task.vocab_size), task, config)
    module.model.load_state_dict(model.state_dict())
    module.start_copies()
    return module


def test_the_original_is_the_pretrained_model_and_does_not_change(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", **GEMMA)
    module = original_of(folder)
    assert module.original is not None
    own = LanguageModel(architecture_of(folder))
    load_pretrained(own, folder)
    kept = {name: x.clone() for name, x in module.original.model.state_dict().items()}
    assert kept.keys() == own.state_dict().keys()
    assert all(torch.equal(x, kept[name]) for name, x in own.state_dict().items())
    rows = trained(module, steps=2)
    assert all(torch.equal(x, kept[name]) for name, x in module.original.model.state_dict().items())
    assert any(not torch.equal(module.model.state_dict()[name], x) for name, x in kept.items())
    assert [row["original_divergence"] > 1e-9 for row in rows] == [False, True]  # each layer begins as the original


def test_the_loss_has_the_divergence_from_the_original(tmp_path: Path) -> None:
    module = original_of(write_model(tmp_path / "model"))
    batch = first_batch(module)
    loss, figures = module.step.compute(batch, module.moment)
    expected = figures["loss"] + 2 * figures["original_divergence"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    dense = module.moment._replace(dense=True)  # each layer is as at the start, the original
    assert module.step.compute(batch, dense).figures["original_divergence"].item() == pytest.approx(0, abs=1e-6)


def test_a_temperature_softens_predictions_and_keeps_the_size_of_gradients() -> None:
    own, taught = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).unbind(0)
    plain = divergence(own, taught)
    expected = (taught.softmax(-1) * (taught.log_softmax(-1) - own.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(plain, expected)
    soft = divergence(own, taught, 4.0)
    torch.testing.assert_close(soft, 16 * divergence(own / 4, taught / 4))
    assert divergence(taught, taught, 4.0).abs().max() < 1e-6
