"""Groups on a command line: each mistake is answered with what to type."""

import pytest

from nas.cli.groups import check_groups, groups_of, is_group
from nas.errors import UserError

SPACE = ("space",)


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        ("search", ["+data=text"], "+data=text cannot select a file of data; give data=text."),
        ("search", ["++budget=flops"], "++budget=flops cannot select a file of budget; give budget=flops."),
        (
            "search",
            ["+searcher=random", "+space=joint"],
            "+searcher=random cannot select a file of searcher; give searcher=r",
        ),
        (
            "search",
            ["+experiment=one_gpu"],
            "+experiment=one_gpu cannot select a file of experiment; give experiment=one_gpu.",
        ),
        ("search", ["space=joint"], "space=joint cannot select a file of space; give +space=joint."),
        ("search", ["+space=joint", "+space=token_hybrid"], "space is given twice; give it once, for example +space="),
        (
            "search",
            ["+space=joint", "data@other=text"],
            "data@other=text cannot select a file of data; give data=text.",
        ),
        ("search", ["+sweep=default"], "+sweep=default: nas.search has no sweep; its groups are: align, budget, data"),
        (
            "compare",
            ["+space=joint"],
            "+space=joint: nas.compare has no space; its groups are: budget, data, experiment",
        ),
        ("visualize", ["model=tiny"], "model=tiny: nas.visualize has no model"),
    ],
    ids=str,
)
def test_a_group_that_is_selected_in_a_wrong_way(command: str, options: list[str], told: str) -> None:
    with pytest.raises(UserError) as refused:
        check_groups(command, options, SPACE if command == "search" else ())
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["+space=joint", "data=text", "data.path=x", "--cfg", "job"],
        ["-m", "+space=joint,token_hybrid", "model=tiny,340m", "seed=0,1"],
        ["model=tiny", "model=340m", "~experiment", "+sweep.ranges.model.choices=[tiny]"],
    ],
    ids=str,
)
def test_a_group_that_is_selected_right(options: list[str]) -> None:
    check_groups("sweep", options, SPACE)


def test_the_groups_of_a_command_are_those_of_its_file_and_of_what_it_includes() -> None:
    common = {"model", "data", "relaxation", "budget", "trainer", "logger", "experiment"}
    assert groups_of("train") == common
    assert groups_of("sweep") == {*common, "searcher", "align", "heal", "sweep"}
    assert all(map(is_group, common))
    assert not is_group("seed")
