"""What an operation is: a cost over the share, and what a class must define."""

import pytest

from nas.models.operations.operation import Branch, CostLine, Standalone


def test_a_cost_is_a_line_over_the_share() -> None:
    line = CostLine(3.0, 2.0) + CostLine(1.0)
    assert line == CostLine(4.0, 2.0)
    assert [line.at(share) for share in (0.0, 0.5, 1.0)] == [4.0, 5.0, 6.0]


@pytest.mark.parametrize("kind", [Branch, Standalone], ids=lambda kind: kind.__name__)
def test_a_class_must_define_all_of_it(kind: type) -> None:
    with pytest.raises(TypeError, match="abstract method"):
        type("Part", (kind,), {"weights": lambda self, a: 0})()
