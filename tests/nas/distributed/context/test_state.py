"""States at the starts of stretches, and their gradients, are those of a loop over all stretches."""

from tests.nas.distributed.context.conftest import Found


def test_states_are_composed(found: Found) -> None:
    for of_process in found.measured:
        assert max(of_process["of_states"]) < 1e-4  # in bfloat16 over 1e-2
