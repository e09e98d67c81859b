"""Options of the suites: each has a default in conf/, and bounds."""

import pytest

from nas.cli.checks import check_values
from nas.errors import UserError
from nas.options.suites import SuitesConfig
from tests.nas.commands import composed


def test_all_options_have_a_default() -> None:
    config = composed("evaluate", "run=x", "suites.recall.most=2").suites
    assert isinstance(config, SuitesConfig)
    check_values(config)
    assert config.recall.most == 2
    assert config.ruler.tasks is None


def test_options_inside_a_group_are_checked() -> None:
    config = composed("evaluate", "run=x", "suites.recall.ngram=1").suites
    with pytest.raises(UserError, match=r"suites.recall.ngram=1 is not allowed; give 2 or more"):
        check_values(config, "suites.")
