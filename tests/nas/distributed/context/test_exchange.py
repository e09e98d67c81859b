"""Tokens before a stretch come from the stretches before it, and their gradients return."""

import pytest

from tests.nas.distributed.context.conftest import Found


def test_tokens_before_a_stretch(found: Found) -> None:
    for of_process in found.measured:
        assert of_process["of_tokens_before"] == [True] * 10


def test_gradients_are_those_of_whole_sequences(found: Found) -> None:
    differences = found.measured[0]["of_models"]
    assert differences.keys() == {"pretrained", "operations alone", "routers", "selected", "mixture"}
    for case, difference in differences.items():
        assert difference < 1e-12, case


@pytest.mark.gpu
def test_two_gpus_compute_what_one_computes(found_on_gpus: Found) -> None:
    for of_process in found_on_gpus.measured:
        assert of_process["of_tokens_before"] == [True] * 10
        assert max(of_process["of_states"]) < 1e-4
        for case, difference in of_process["of_models"].items():
            assert difference < 0.02, case  # float32 products are of TF32
