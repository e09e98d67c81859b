"""The config of a search that another command composes."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nas.__main__ import COMMANDS
from nas.cli.composing import compose_search
from nas.config import CONF, register
from nas.errors import UserError
from tests.nas.commands import SMALL
from tests.nas.composed_once import composed_once


def test_common_values_replace_those_of_the_composed_config() -> None:
    common = {"data.pairs": 3, "data.length_factors": [1, 4], "model.routed_layers": None}
    search = compose_search(["+space=joint", *SMALL, "model.routed_layers=[1]"], common=common)
    assert (search.data.length_factors, search.model.routed_layers) == ([1, 4], None)
    assert vars(search.data)["pairs"] == 3
    assert search.budget.resource == "kv_bytes", "as the space says"
    with pytest.raises(UserError, match="none"):
        compose_search(["+space=joint", "searcher=none"])


def _composed(command: str, options: list[str]) -> tuple[dict[str, Any], bool | None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(command, options, return_hydra_config=True)
    return OmegaConf.to_container(config), OmegaConf.is_struct(config)


@pytest.mark.parametrize("command", COMMANDS)
def test_tests_that_compose_files_once_get_what_hydra_composes(command: str) -> None:
    register()
    options = ["+space=token_hybrid", "model.width=16"] if command in ("search", "sweep") else []
    given = (options, [*options, "hydra.job.chdir=false"])
    expected = [_composed(command, options) for options in given]
    with composed_once():
        assert [_composed(command, options) for _ in range(2) for options in given] == expected * 2


def test_other_files_are_composed_anew() -> None:
    register()
    with composed_once():
        first, second = (_composed("search", [f"+space={space}"])[0] for space in ("token_hybrid", "joint"))
        third, _ = _composed("search", ["+space=token_hybrid", "data=text"])
    assert first["space"] == third["space"] != second["space"]
    assert first["data"] == second["data"] != third["data"]
