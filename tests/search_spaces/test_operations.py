"""Names of mixers: registered operations, families of operations, and mixers with a router."""

import pytest

from nas.search_spaces import operations


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_operations", [])
    monkeypatch.setattr(operations, "_families", [])


@pytest.mark.usefixtures("empty")
def test_registered_names_are_known() -> None:
    assert operations.known("anything"), "while no operation is registered"
    operations.register("softmax")
    assert not operations.known("anything")
    assert operations.names() == ["softmax"], "a router needs both of its operations"
    operations.register("linear")
    operations.register("linear")
    assert operations.names() == ["softmax", "linear", "token_hybrid"]


@pytest.mark.usefixtures("empty")
def test_names_of_a_family_follow_a_colon() -> None:
    operations.register("softmax")
    assert not operations.known("theirs:one")
    operations.register_family("theirs")
    assert operations.known("theirs:one")
    assert not operations.known("theirs")
    assert operations.allowed() == "softmax, theirs:NAME"


def test_a_mixer_has_one_operation_or_those_of_its_router() -> None:
    assert operations.operations_of("linear") == ("linear",)
    assert operations.operations_of("token_hybrid") == ("softmax", "linear")
