import pytest
from hydra.errors import OverrideParseException

from nas.errors import UserError
from nas.plugins.hydra_sources import given


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        ([], []),
        (["+space=joint", "seed=1"], []),
        (["plugins=[a]"], ["a"]),
        (["plugins=[a]", "+plugins=[b.c,'/x y/d.py']"], ["b.c", "/x y/d.py"]),
        (["plugins=[]"], []),
        (["plugins=[../a/b-c.py]", "-m"], ["../a/b-c.py"]),
    ],
)
def test_the_modules_of_a_command_line(arguments: list[str], modules: list[str]) -> None:
    assert given(arguments) == modules


@pytest.mark.parametrize("argument", ["plugins=a", "plugins=[a],[b]", "plugins=[1]", "plugins={a: 1}", "plugins=null"])
def test_what_is_no_list_of_modules(argument: str) -> None:
    with pytest.raises(UserError, match="is not a list of modules; give for example plugins="):
        given([argument])


def test_what_cannot_be_read() -> None:
    with pytest.raises(OverrideParseException):
        given(["plugins=["])
