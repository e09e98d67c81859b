"""What an operation is: a cost over the share, and what a class must define."""

import pytest

from nas.models.operations.operation import Branch, Line, Standalone


def test_a_cost_is_a_line_over_the_share() -> None:
    line = Line(3.0, 2.0) + Line(1.0)
    assert line == Line(4.0, 2.0)
    assert [line.at(share) for share in (0.0, 0.5, 1.0)] == [4.0, 5.0, 6.0]


@pytest.mark.parametrize("kind", [Branch, Standalone], ids=lambda kind: kind.__name__)
def test_a_class_must_define_all_of_it(kind: type) -> None:
    with pytest.raises(TypeError, match="abstract method"):
        type("Part", (kind,), {"weights": lambda self, a: 0})()
