import sys

import pytest

from nas.errors import UserError
from nas.plugins.installed import SEARCHER, SPACE, TASK, describe, entry_point, names, yaml_folders
from tests.nas.plugins.written import Plugins


def test_names_are_known_without_importing(plugins: Plugins) -> None:
    plugins.write("broken.py", "raise ZeroDivisionError")
    plugins.install("their-project", "1.2", spaces="theirs = broken", tasks="a = broken\nb = broken.tasks")
    assert (names(SPACE), names(TASK), names(SEARCHER)) == (["theirs"], ["a", "b"], [])
    entry = entry_point(SPACE, "theirs")
    assert entry is not None
    assert describe(entry) == "their-project 1.2 (entry point theirs = broken in nas.spaces)"
    assert entry_point(SPACE, "ours") is None
    assert "broken" not in sys.modules


def test_two_distributions_with_one_name(plugins: Plugins) -> None:
    plugins.install("their-project", "1.2", spaces="theirs = one")
    plugins.install("other-project", "0.1", spaces="theirs = two")
    with pytest.raises(
        UserError, match=r"space theirs is in two packages, .* and .*; uninstall one of them\."
    ) as refused:
        entry_point(SPACE, "theirs")
    assert "their-project 1.2" in str(refused.value)
    assert "other-project 0.1" in str(refused.value)


def test_yaml_is_found_without_importing(plugins: Plugins) -> None:
    for package in ("pack", "pack/inner", "pack/without"):
        plugins.write(f"{package}/__init__.py", "raise ZeroDivisionError")
    for folder in ("pack/conf", "pack/inner/conf", "conf"):
        plugins.write(f"{folder}/space/theirs.yaml", "")
    plugins.write("single.py", "raise ZeroDivisionError")
    plugins.install("a", "1", spaces="a = pack.inner.module", tasks="a = pack.without.module\nb = nowhere.module")
    plugins.install("b", "1", searchers="b = single")
    assert yaml_folders() == [plugins.folder / "pack/conf", plugins.folder / "pack/inner/conf"]
