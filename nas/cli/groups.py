"""The groups of a command: folders in conf/ of which it selects a file, and the check of how a user selects one.

Hydra's own messages advise what would be right in a YAML file.
"""

from collections.abc import Collection, Sequence

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from nas.config import CONF, FOLDERS
from nas.errors import UserError


def is_group(name: str) -> bool:
    """Return whether nas or an installed plugin has YAML files of this group."""
    return any((folder / name).is_dir() for folder in FOLDERS)


def groups_of(name: str) -> set[str]:
    """Return the groups in the defaults of a file in conf/ and of the files that it includes."""
    found: set[str] = set()
    for entry in yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))["defaults"]:
        if isinstance(entry, dict):
            found |= entry.keys()
        elif (CONF / f"{entry}.yaml").is_file():
            found |= groups_of(entry)
    return found


def check_groups(name: str, arguments: Sequence[str], added: Collection[str]) -> None:
    """Raise a UserError for the first group that is selected in a wrong way.

    Args:
        name: name of the command.
        arguments: arguments of its command line.
        added: groups that a user selects with "+", since the command has no default for them.
    """
    groups, seen = groups_of(name), set()
    for given in OverridesParser.create().parse_overrides(get_args_parser().parse_args(list(arguments)).overrides):
        group = given.key_or_group
        if given.is_delete() or "." in group or not is_group(group):
            continue
        line, choice = str(given.input_line), str(given.input_line).partition("=")[2]
        if group not in groups and group not in added:
            raise UserError(
                f"{line}: nas.{name} has no {group}; its groups are: {', '.join(sorted({*groups, *added}))}."
            )
        right = f"{'+' if group in added else ''}{group}={choice}"
        if given.package is not None or _adds(given) != (group in added):
            raise UserError(f"{line} cannot select a file of {group}; give {right}.")
        if group in seen and group in added:
            raise UserError(f"{group} is given twice; give it once, for example {right}.")
        seen.add(group)


def _adds(given: Override) -> bool:
    return given.is_add() or given.is_force_add()
