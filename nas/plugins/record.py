"""The plugins of a run: recorded in its `config.yaml`, and required by whatever reads it.

Reading a run imports installed plugins only, by their names. The modules of its option ``plugins`` are code of whoever
made the folder: they are imported if the user gives that option, or resumes the run.
"""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from nas import search_spaces
from nas.config import SCHEMAS
from nas.errors import UserError, warn
from nas.plugins.installed import OPERATION, SEARCHER, SPACE, TASK, Kind, entry_point
from nas.plugins.loading import LOADED, find, module_of
from nas.plugins.registry import registered, registered_names
from nas.search_spaces import operations as mixers

ABSENT = "absent"
"""In place of the version of a plugin that is not here."""
RECORD = "plugins"
"""Key of the record in `config.yaml`; the option of this name is among the options there."""


def use(values: Mapping[str, Any]) -> None:
    """Import the installed plugins that the options of a run name.

    Args:
        values: options as plain values, as ``dataclasses.asdict`` makes them of a config.

    Raises:
        UserError: one cannot be imported, or does not register the name.
    """
    for kind, name in _named(values):
        if kind == OPERATION:
            continue  # imported where a layer has it
        if not _of_nas(kind, name):
            find(kind, name)
        elif (entry := entry_point(kind, name)) and registered(kind, name) is None and entry.dist:
            warn(f"{entry.dist.name} announces a {kind.name} {name}, which is one of nas itself; that one is used.")


def record(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the plugins of a run, each with its version: modules of option ``plugins``, and installed ones it uses.

    Args:
        values: see `use`.
    """
    found = {given: _version(given) for given in values.get("plugins", ())}
    for kind, name in [*_named(values), *((OPERATION, name) for name in registered_names(OPERATION))]:
        entry = entry_point(kind, name)
        if registered(kind, name) is not None and entry is not None and entry.dist is not None:
            found[entry.dist.name] = entry.dist.version
    return [{"name": name, "version": known} for name, known in found.items()]


def require(where: str, described: Mapping[str, Any]) -> None:
    """Import the installed plugins of a run that was made before; warn where their versions have changed.

    Args:
        where: the option with which the user named the run, for messages: "run=FOLDER".
        described: what the run's `config.yaml` holds.

    Raises:
        UserError: what the run uses of a plugin is not there.
    """
    values, recorded = described["config"], _recorded(described)
    if not recorded:
        return
    use(values)
    lacking = [f"{kind.name} {name}" for kind, name in _named(values) if not _there(kind, name)]
    now_here = {name: _version(name) for name in recorded}
    if lacking or (ABSENT in now_here.values() and not LOADED):
        of = f"the {' and the '.join(lacking)} of " if lacking else ""
        raise UserError(f"{where} uses {of}a plugin; {_advice(values, recorded)}.")
    for name, then in recorded.items():
        if (now := now_here[name]) not in (then, ABSENT):
            warn(f"{where} was made with plugin {name} {then}; here it is {now}.")


def _advice(values: Mapping[str, Any], recorded: Mapping[str, str]) -> str:
    """How to get the plugins of a run."""
    modules = [name for name in recorded if name in values.get("plugins", ())]
    installed = [f"{name} ({then} then)" for name, then in recorded.items() if name not in modules]
    advice = [f"give plugins=[{','.join(modules)}] as well"] if modules else []
    return ", or ".join([*advice, *([f"install {', '.join(installed)}"] if installed else [])])


def _recorded(described: Mapping[str, Any]) -> dict[str, str]:
    """Versions by plugin, as `record` wrote them."""
    found = described.get(RECORD)
    return {str(each["name"]): str(each["version"]) for each in found} if isinstance(found, list) else {}


def _named(values: Mapping[str, Any]) -> Iterator[tuple[Kind, str]]:
    """Everything that a plugin may have added, of what the options name."""
    for kind in (SPACE, TASK, SEARCHER):
        group = values.get(kind.group or "")
        if isinstance(group, Mapping) and isinstance(group.get("name"), str):
            yield kind, group["name"]
    space = values.get("space")
    if isinstance(space, Mapping):
        for operation in space.get("operations") or ():
            yield OPERATION, operation


def _of_nas(kind: Kind, name: str) -> bool:
    """Whether a name is one that no plugin added."""
    if registered(kind, name) is not None:
        return False
    if kind == OPERATION:
        return mixers.known(name)
    if kind == SPACE:
        return name in search_spaces.names()
    return f"{kind.group}/{name}_schema" in SCHEMAS


def _there(kind: Kind, name: str) -> bool:
    return registered(kind, name) is not None or _of_nas(kind, name)


def _version(plugin: str) -> str:
    """Version of a distribution; for a module, of that which it is from, else its own, else a hash of its file."""
    module = module_of(plugin)
    if module is None:
        try:
            return version(plugin)
        except ModuleNotFoundError:
            return ABSENT
    for distribution in packages_distributions().get(module.__name__.partition(".")[0], ()):
        return version(distribution)
    if isinstance(own := getattr(module, "__version__", None), str):
        return own
    if module.__file__ is None:
        return "unknown"
    return f"sha256 {hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:12]}"
