"""Shell completion: the script that `-sc install=SHELL` prints, and the candidates that this script queries.

Hydra provides the options and groups. Its own scripts do not complete `python -m`, change how bash splits words in
other programs, and offer choices that the commands of this project refuse.
"""

import glob
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from nas.cli.groups import groups_of, is_group
from nas.errors import UserError

FLAGS = {"-sc", "--shell-completion"}
SCRIPTS = {"bash": "bash.sh", "zsh": "zsh.sh", "fish": "fish.fish"}
REMOVE = {
    "bash": "complete -r @commands@; unset -f _nas_complete",
    "zsh": "compdef -d @commands@; unfunction _nas_complete",
    "fish": "for __nas_name in @commands@; complete -e -c $__nas_name; end; "
    "set -e __nas_name; functions -e __nas_command __nas_complete",
}
COMMAND = re.compile(r"\s*(?:.*?\s-m\s+nas\.\w+|\S+)(?:\s+|$)")
"""Matches the command at the start of a line: `nas-search`, or `python -m nas.search` in any form."""


class Request(NamedTuple):
    """Request of a shell.

    Attributes:
        action: install, uninstall or query.
        shell: name of the shell.
    """

    action: str
    shell: str


def requested(arguments: Sequence[str]) -> Request | None:
    """Return the request of `-sc ACTION=SHELL`; None without `-sc`, UserError if action or shell is unknown."""
    given = [argument for argument in arguments if argument not in FLAGS]
    if len(given) == len(arguments):
        return None
    request = Request(*given[0].split("=", 1)) if len(given) == 1 and "=" in given[0] else None
    if request is None or request.action not in ("install", "uninstall", "query") or request.shell not in SCRIPTS:
        raise UserError(
            f"{' '.join(arguments)} is unknown; give install, uninstall or query, and one of: {', '.join(SCRIPTS)}. "
            "For example: -sc install=bash"
        )
    return request


def answer(request: Request, name: str, added: Collection[str], run: Callable[[], None]) -> str:
    """Return the text for the shell: a script, or candidates, one a line.

    Args:
        request: request of the shell.
        name: name of the command.
        added: options that a user adds with "+", since the command has no default for them.
        run: main function of the command, from which Hydra makes the candidates.
    """
    if request.action == "install":
        script = (Path(__file__).parent / "shells" / SCRIPTS[request.shell]).read_text(encoding="utf-8")
        this = [sys.executable, "-m", f"nas.{name}"] if sys.argv[0].endswith(".py") else [sys.argv[0]]
        return script.replace("@commands@", " ".join(_commands())).replace("@this@", shlex.join(this))
    if request.action == "uninstall":
        return REMOVE[request.shell].replace("@commands@", " ".join(_commands()))
    line = os.environ.get("COMP_LINE", "")
    typed = COMMAND.sub("", line[: int(os.environ.get("COMP_POINT") or len(line))], count=1)
    return "\n".join(_candidates(typed, name, added, run))


def _commands() -> list[str]:
    """Return the commands to complete: the installed commands, and Python if it started this command."""
    installed = {point.name for point in entry_points(group="console_scripts") if point.value.startswith("nas.")}
    if Path(sys.argv[0]).name in installed:
        return sorted(installed)
    return [*sorted(installed), "python", "python3", f"python3.{sys.version_info.minor}"]


def _candidates(typed: str, name: str, added: Collection[str], run: Callable[[], None]) -> list[str]:
    """Return the possible continuations of the last word of a line; after a space this word is empty."""
    *before, word = re.split(r"\s+", typed)
    candidates = _from_hydra(typed, run)
    if not candidates:
        return _files(word)
    groups = groups_of(name)
    found = []
    for candidate in candidates:
        group, equals, choice = candidate.lstrip("+").partition("=")
        if not equals or not is_group(group):
            found.append(candidate)
        elif choice == "schema" or choice.endswith("_schema"):
            continue
        elif group in groups and not candidate.startswith("+"):
            found.append(candidate)
        elif group in added and not any(other.startswith(f"+{group}=") for other in before):
            found.append(f"+{group}={choice}")
    return found


def _from_hydra(typed: str, run: Callable[[], None]) -> list[str]:
    """Return Hydra's candidates; empty if Hydra cannot parse the line."""
    os.environ["COMP_LINE"] = f"nas {typed}"  # Hydra skips a single word, but not python -m
    sys.argv[1:] = ["-sc", "query=fish"]  # the shell for which Hydra prints one candidate a line
    out = io.StringIO()
    with suppress(Exception, SystemExit), redirect_stdout(out), redirect_stderr(io.StringIO()):
        run()
    return [line for line in out.getvalue().splitlines() if line]


def _files(word: str) -> list[str]:
    """Return the files and folders that complete the value of an option, or the last item of a list."""
    option = re.match(r".*[=\[,]", word)
    if option is None:
        return []
    paths = sorted(glob.glob(f"{glob.escape(word[option.end() :])}*"))
    return [f"{option[0]}{path}/" if os.path.isdir(path) else f"{option[0]}{path}" for path in paths]
