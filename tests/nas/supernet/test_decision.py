"""A decision that is made once during training: until then there is none, and checkpoints keep it."""

import pytest

from nas.budget.cost import SOFTMAX_SHARE, SpaceCost
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.supernet.decision import Decision, Selected
from nas.supernet.draws import choices_of_layers
from tests.nas.supernet.test_architecture_logits import three_layers


@pytest.mark.parametrize("kind", [Decision, Selected])
def test_a_decision_is_kept_and_restored(kind: type[Decision]) -> None:
    decision, again = kind(3), kind(3)
    again.load_state_dict(decision.state_dict())
    assert not decision.decided
    assert not again.decided
    decision.keep((0, 2, 1))
    again.load_state_dict(decision.state_dict())
    assert (again.decided, again.chosen.tolist()) == (True, [0, 2, 1])


def test_a_selected_architecture_is_certain() -> None:
    space = three_layers()
    assert not any("selected" in name for name in ArchitectureLogits(space).state_dict())
    logits = ArchitectureLogits(space, selects=True)
    assert logits.selected is not None
    assert logits.code is None
    assert logits.probabilities(0).tolist() == [pytest.approx(1 / len(space.options[0]))] * len(space.options[0])
    code = (2, 0, 1)
    logits.selected.keep(code)
    assert logits.probabilities(0).tolist() == [float(option == 2) for option in range(len(space.options[0]))]
    assert logits.layer_choices("uniform", 1.0) == choices_of_layers(code) == logits.layer_choices("gdas", 1.0)
    assert logits.best(SpaceCost(SOFTMAX_SHARE, space, 1), target=1e-3) == code, "whatever the budget"
