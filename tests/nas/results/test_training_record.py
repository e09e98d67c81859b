"""Facts of a training."""

from dataclasses import FrozenInstanceError, asdict

import pytest

from nas.results.training_record import TrainingRecord


def test_it_holds_what_it_was_given_and_does_not_change() -> None:
    facts = {"finished": True, "diverged_at": None, "step": 4, "steps": 6, "seconds": 1.5, "tokens": 64}
    record = TrainingRecord(**facts, tokens_per_second=None, softmax_share=0.5, peak_flops=None)  # type: ignore[arg-type]
    assert asdict(record) == facts | {"tokens_per_second": None, "softmax_share": 0.5, "peak_flops": None, "logged": ()}
    with pytest.raises(FrozenInstanceError):
        record.step = 5  # type: ignore[misc]
