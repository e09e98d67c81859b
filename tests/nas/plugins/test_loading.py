"""`plugins=` and entry points: what is imported, and what is said where that cannot be."""

import sys

import pytest

from nas.errors import UserError
from nas.plugins.installed import SPACE, TASK
from nas.plugins.loading import find, known, load, module_of
from nas.plugins.registry import registered, registered_names
from tests.nas.commands import SMALL, nas, refusal
from tests.nas.plugins.written import Plugins

GOOD = """
from nas.plugins import register_space

def make(config, model, vocab_size):
    raise ValueError("space.every=0 is too small")

register_space("mine", make)
"""
YAML = """
# @package _global_
defaults: [/space/schema@space, _self_]
space: {name: mine, route_grad: full, operations: [softmax], tiny_layers: 1}
"""


def test_a_module_of_the_current_folder(plugins: Plugins) -> None:
    plugins.write("my_module.py", GOOD)
    assert load(["my_module"]) == ["my_module"]
    assert registered_names(SPACE) == ["mine"]
    assert load(["my_module"]) == ["my_module"]
    assert module_of("my_module") is sys.modules["my_module"]


def test_a_file_by_its_path(plugins: Plugins) -> None:
    path = plugins.write("inner/my_module.py", GOOD)
    assert load(["inner/my_module.py"]) == [str(path)]
    assert registered_names(SPACE) == ["mine"]
    assert load([str(path)]) == [str(path)]
    added = registered(SPACE, "mine")
    assert added is not None
    assert added.plugin == "plugins=[inner/my_module.py]"
    del sys.path[sys.path.index(str(path.parent))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere' ({path}, line 1)"),
        ("\n1 / 0", "ZeroDivisionError: division by zero ({path}, line 2)"),
        ("def f(:", "SyntaxError: invalid syntax (my_module.py, line 1)"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines ({path}, line 1)"),
        ("raise SystemExit", "SystemExit: no reason given ({path}, line 1)"),
        ("x = 1", "plugins=[my_module] registers nothing; call register_space, "),
        (GOOD.replace("mine", "joint"), "plugins=[my_module]: space joint: the name is taken by nas itself"),
        (
            GOOD.replace(", vocab_size", ""),
            "space mine: my_module.make(config, model) cannot be called with (config, mod",
        ),
        ("from nas.plugins import register_task\nregister_task('a', print)", "TypeError: register_task() missing 1"),
        (f"{GOOD}\n1 / 0", "ZeroDivisionError: division by zero ({path}, line "),
    ],
)
def test_a_module_that_cannot_work(plugins: Plugins, text: str, told: str) -> None:
    path = plugins.write("my_module.py", text)
    message = refusal("search", "plugins=[my_module]")
    assert message.startswith("error: plugin plugins=[my_module]")
    assert told.format(path=path) in message
    assert registered_names(SPACE) == []


def test_a_module_that_is_not_there(plugins: Plugins) -> None:
    told = "plugin plugins=[nowhere] cannot be imported: ModuleNotFoundError: No module named 'nowhere'"
    assert refusal("train", "plugins=[nowhere]") == f"error: {told}\n"
    assert "plugins=[a/b.py]: there is no such file; give the path of" in refusal("train", "plugins=[a/b.py]")


def test_a_file_named_as_another_module(plugins: Plugins) -> None:
    plugins.write("json.py", GOOD)
    message = refusal("search", "plugins=[json.py]")
    assert "plugin plugins=[json.py]: the name json belongs to the module " in message
    assert "rename the file" in message


def test_a_refusal_of_the_plugin_is_one_line(plugins: Plugins) -> None:
    plugins.write("my_module.py", GOOD)
    plugins.write("conf/space/mine.yaml", YAML)
    assert refusal("search", "plugins=[my_module]", "+space=mine", *SMALL) == "error: space.every=0 is too small\n"


def test_names_of_plugins_are_among_those_to_choose_from(plugins: Plugins) -> None:
    plugins.write("my_module.py", GOOD)
    plugins.write("conf/space/mine.yaml", YAML)
    choice = "choose one of: chunk_size, joint, layer_hybrid, mine, token_hybrid."
    assert choice in refusal("search", "plugins=[my_module]", "+space=other")
    assert choice in refusal("search", "plugins=[my_module]")
    assert "one of: chunk_size, joint, layer_hybrid, mine, token_hybrid" in nas("search", "--help").out
    assert known(SPACE) == ["mine"]


def test_an_installed_plugin_is_imported_by_the_name_that_is_used(plugins: Plugins) -> None:
    plugins.write("pack/__init__.py", "")
    plugins.write("pack/good.py", GOOD)
    plugins.write("pack/broken.py", "1 / 0")
    plugins.install("their-project", "1.2", spaces="mine = pack.good\nworse = pack.broken\nempty = pack", tasks="x = y")
    assert known(SPACE) == ["empty", "mine", "worse"]
    added = find(SPACE, "mine")
    assert added is not None
    assert added.plugin == "their-project 1.2 (entry point mine = pack.good in nas.spaces)"
    assert "pack.broken" not in sys.modules
    assert find(TASK, "nothing") is None
    with pytest.raises(
        UserError, match=r"plugin their-project 1.2 \(.*worse = pack.broken.*ZeroDivisionError: division"
    ):
        find(SPACE, "worse")
    with pytest.raises(
        UserError, match=r"plugin their-project 1.2 \(.*\) registers no space empty; call register_space"
    ):
        find(SPACE, "empty")


def test_a_broken_plugin_stops_the_run_that_uses_it_alone(plugins: Plugins) -> None:
    plugins.write("pack/__init__.py", "1 / 0")
    plugins.write("pack/conf/data/theirs.yaml", "defaults: [theirs_schema, _self_]\nname: theirs\n")
    plugins.install("their-project", "1.2", tasks="theirs = pack", spaces="theirs = pack", searchers="recall = pack")
    ended = nas("search", "+space=token_hybrid", "--cfg", "job")
    assert (ended.status, ended.err) == (0, "")
    message = refusal("search", "+space=token_hybrid", "data=theirs")
    plugin = "their-project 1.2 (entry point theirs = pack in nas.tasks)"
    assert message.startswith(f"error: plugin {plugin} cannot be imported: ZeroDivisionError: division by zero")


def test_a_plugin_that_announces_a_name_of_nas(plugins: Plugins) -> None:
    plugins.write("pack.py", GOOD)
    plugins.install("their-project", "1.2", tasks="recall = pack")
    ended = nas("search", "+space=token_hybrid", "model.width=0", *SMALL[1:])
    told = "warning: their-project has a task recall, but nas has one of this name too; that of nas is used.\n"
    assert ended.err.startswith(told)
    assert registered_names(SPACE) == []
