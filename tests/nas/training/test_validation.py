"""Validation during training: its precision, and the planted chunks it finds."""

import pytest
import torch

from nas.evaluation.evaluate import evaluate
from tests.nas.training.test_module import TEXT, first_batch, made


@pytest.mark.filterwarnings("ignore:.*Cannot dispatch to fused implementation")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_measured_beside_the_training_is_in_its_precision(precision: str) -> None:
    module = made("cpu", f"trainer.precision={precision}", begun=True)
    with module.autocast():
        logits = module.model(first_batch(module).tokens, module.supernet.policy).logits
    assert logits.dtype == (torch.bfloat16 if precision == "bf16-mixed" else torch.float32)
    assert 0 <= module.validate().quality <= 1


def test_validation_counts_the_planted_chunks_of_the_layer_that_finds_most() -> None:
    module = made("cpu", begun=True)
    measured = evaluate(module.model, module.task.validation_batches(), module.task.quality, module.supernet.policy)
    quality, found = module.validate()
    assert quality == measured.quality
    assert found in measured.found_by_layer.values()


@pytest.mark.parametrize(
    "options", [("budget.dense_until=1",), (*TEXT, "data.length_factors=[1]")], ids=["dense", "text"]
)
def test_validation_finds_nothing_where_nothing_is_planted_or_routed(options: tuple[str, ...]) -> None:
    assert made("cpu", *options, begun=TEXT[0] in options).validate().found is None
