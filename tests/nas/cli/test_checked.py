"""The config that a command runs: as given, or that of the run to resume."""

from pathlib import Path

import pytest

from nas.cli.checked import checked, checked_again
from nas.errors import UserError
from tests.nas.commands import SEARCH, Ended, composed


def test_what_is_given_is_checked() -> None:
    given = composed("search", *SEARCH)
    assert checked(given) is given
    given.trainer.steps = 0
    with pytest.raises(UserError, match=r"trainer\.steps=0 is not allowed"):
        checked(given)


def test_numbers_of_a_command_without_training_are_checked() -> None:
    given = composed("visualize", "run=folder")
    assert checked(given) is given
    given.tokens = 0
    with pytest.raises(UserError, match="tokens=0 is not allowed; give 1 or more"):
        checked(given)


def test_without_options_it_is_that_of_the_run(search: Ended, tmp_path: Path) -> None:
    found = checked_again("search", str(search.run), [], {})
    assert found.trainer == composed("search", *SEARCH, "trainer.precision=32-true").trainer
    assert found.resume == str(search.run)
    with pytest.raises(UserError, match="there is no such folder"):
        checked_again("search", str(tmp_path / "nowhere"), [], {})
