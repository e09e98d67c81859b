"""`--version` of every command."""

import re
import sys

import pytest

from nas import __main__
from nas.runs import version
from tests.nas.commands import nas
from tests.nas.processes import process, wait_for_end


@pytest.mark.parametrize("command", __main__.COMMANDS)
def test_every_command_prints_the_versions(command: str) -> None:
    ended = nas(command, "--version")
    assert (ended.status, ended.err) == (0, "")
    python = ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(rf"nas \S+.*, torch [23]\S+, Python {python}\n", ended.out)
    assert ended.out == f"{version.text()}\n"


def test_versions_need_neither_hydra_nor_torch() -> None:
    code = "import sys, nas.search; sys.argv[1:] = ['--version']; nas.search.main(); "
    ended = wait_for_end(process("-c", code + "print(sorted(sys.modules.keys() & {'hydra', 'torch', 'omegaconf'}))"))
    assert ended.out.splitlines()[-1] == "[]", ended.err


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "PROJECT", "no-such-project")
    assert version.text().startswith("nas not installed, torch ")
