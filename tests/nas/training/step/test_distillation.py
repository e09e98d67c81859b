"""Distillation: from the weights at the end of the dense phase, which nothing changes and checkpoints keep."""

import pytest
import torch

from nas.cli.checks import check_together
from nas.errors import UserError
from nas.models.language_model import LanguageModel
from nas.training.restoring import unfit
from nas.training.step.distillation import Teacher
from tests.nas.commands import SEARCH, composed
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
