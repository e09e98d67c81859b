"""Tokens before a stretch come from the stretches before it, and their gradients return."""

from tests.nas.distributed.context.conftest import Found


def test_tokens_before_a_stretch(found: Found) -> None:
    for of_process in found.measured:
        assert of_process["of_tokens_before"] == [True] * 10


def test_gradients_are_those_of_whole_sequences(found: Found) -> None:
    differences = found.measured[0]["of_models"]
    assert differences.keys() == {"operations alone", "routers", "selected", "mixture"}
    for case, difference in differences.items():
        assert difference < 1e-12, case
