"""Completion in the shells themselves, with installed commands."""

import shutil
from pathlib import Path

import pytest

from tests.packaging.environments import Environment

BASH = r"""
eval "$(nas-search -sc install=bash)"
eval "$(python -m nas.search -sc install=bash)"
complete -p nas-train python
try() {
    COMP_LINE="$1" COMP_POINT=${#1} COMPREPLY=()
    _nas_complete
    echo "${COMPREPLY[@]}"
}
try "nas-search +sp"
try "nas-search +space=l"
try "python -m nas.search +space=token_hybrid model=34"
try "python train.py model=34"
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
try "nas-search +space=l"
eval "$(python -m nas.search -sc uninstall=bash)"
complete -p nas-train 2>/dev/null || echo removed
"""
ZSH = r"""
autoload -Uz compinit && compinit -u -D
eval "$(nas-search -sc install=zsh)"
eval "$(python -m nas.search -sc install=bash)"
print -r -- $_comps[nas-search] $_comps[nas-train] $_comps[python]
compadd() { print -r -- ${(P)@[-1]} }
words=(nas-search +space=l) CURRENT=2 PREFIX=+space=l
_nas_complete
words=(python -m nas.search +space=token_hybrid model=34) CURRENT=5 PREFIX=model=34
_nas_complete
eval "$(python -m nas.search -sc uninstall=zsh)"
print -r -- "${_comps[nas-search]:-removed}"
"""
FISH = r"""
nas-search -sc install=fish | source
python -m nas.search -sc install=fish | source
complete -C 'nas-search +sp'
complete -C 'nas-search +space=l'
complete -C 'python -m nas.search +space=token_hybrid model=34'
python -m nas.search -sc uninstall=fish | source
complete -C 'nas-search +space=l'
functions -q __nas_complete; or echo removed
"""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@needs("bash")
def test_bash(installed: Environment, tmp_path: Path) -> None:
    assert installed.run("bash", "--norc", "-c", BASH, cwd=tmp_path).splitlines() == [
        "complete -o bashdefault -o default -F _nas_complete nas-train",
        "complete -o bashdefault -o default -F _nas_complete python",
        "+space=",
        "layer_hybrid",  # bash takes what is before "=" for a word of its own
        "340m",
        "",
        "+space=layer_hybrid",
        "removed",
    ]


@needs("zsh")
def test_zsh(installed: Environment, tmp_path: Path) -> None:
    told = installed.run("zsh", "-f", "-c", ZSH, cwd=tmp_path, HOME=str(tmp_path)).split()
    assert told == ["_nas_complete"] * 3 + ["+space=layer_hybrid", "model=340m", "removed"]


@needs("fish")
def test_fish(installed: Environment, tmp_path: Path) -> None:
    told = installed.run("fish", "--no-config", "-c", FISH, cwd=tmp_path, HOME=str(tmp_path)).split()
    assert told == ["+space=", "+space=layer_hybrid", "model=340m", "removed"]
