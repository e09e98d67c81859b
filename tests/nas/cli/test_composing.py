"""The config of a search that another command composes."""

import pytest

from nas.cli.composing import compose_search
from nas.errors import UserError
from tests.nas.commands import SMALL


def test_common_values_replace_those_of_the_composed_config() -> None:
    common = {"data.pairs": 3, "data.length_factors": [1, 4], "model.routed_layers": None}
    search = compose_search(["+space=joint", *SMALL, "model.routed_layers=[1]"], common=common)
    assert (search.data.length_factors, search.model.routed_layers) == ([1, 4], None)
    assert vars(search.data)["pairs"] == 3
    assert search.budget.resource == "kv_bytes", "as the space says"
    with pytest.raises(UserError, match="none"):
        compose_search(["+space=joint", "searcher=none"])
