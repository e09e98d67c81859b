"""The plugins of a run: their record in `config.yaml`, and their import when the run is read.

Reading a run imports installed plugins only, by their names. The modules of its option ``plugins`` are code of the
person who made the folder. They are imported only if the user gives that option, or resumes the run.
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
"""Text in place of the version of a plugin that is not installed."""
RECORD = "plugins"
"""Key of the record at the top level of `config.yaml`; the option ``plugins`` is below its key ``config``."""


def use(values: Mapping[str, Any]) -> None:
    """Import the installed plugins that the options of a run name.

    Args:
        values: options as plain values, as made by ``dataclasses.asdict``.

    Raises:
        UserError: a plugin cannot be imported, or does not register the name.
    """
    for kind, name in _named(values):
        if kind == OPERATION:
            continue  # imported when a layer uses it
        if not _of_nas(kind, name):
            find(kind, name)
        elif (entry := entry_point(kind, name)) and registered(kind, name) is None and entry.dist:
            warn(f"{entry.dist.name} has a {kind.name} {name}, but nas has one of this name too; that of nas is used.")


def record(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return name and version of each plugin of a run: modules of option ``plugins``, and installed plugins in use.

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
    """Import the installed plugins of an earlier run, and warn if their versions have changed.

    Args:
        where: option of the user that names the run, for messages: "run=FOLDER".
        described: content of the run's `config.yaml`.

    Raises:
        UserError: a plugin that the run uses is not available.
    """
    values, recorded = described["config"], _recorded(described)
    if not recorded:
        return
    use(values)
    lacking = [f"{kind.name} {name}" for kind, name in _named(values) if not _there(kind, name)]
    now_here = {name: _version(name) for name in recorded}
    if lacking or (ABSENT in now_here.values() and not LOADED):
        of = f"the {' and the '.join(lacking)} of " if lacking else ""
        raise UserError(f"{where} uses {of}a plugin that is not loaded; {_advice(values, recorded)}.")
    for name, then in recorded.items():
        if (now := now_here[name]) not in (then, ABSENT):
            warn(f"{where} was made with plugin {name} {then}; the version here is {now}.")


def _advice(values: Mapping[str, Any], recorded: Mapping[str, str]) -> str:
    """Return the advice how to load the plugins of a run."""
    modules = [name for name in recorded if name in values.get("plugins", ())]
    installed = [f"{name} ({then} then)" for name, then in recorded.items() if name not in modules]
    advice = [f"give plugins=[{','.join(modules)}] as well"] if modules else []
    return ", or ".join([*advice, *([f"install {', '.join(installed)}"] if installed else [])])


def _recorded(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the recorded versions by plugin."""
    found = described.get(RECORD)
    return {str(each["name"]): str(each["version"]) for each in found} if isinstance(found, list) else {}


def _named(values: Mapping[str, Any]) -> Iterator[tuple[Kind, str]]:
    """Yield kind and name of every space, task, searcher and operation in the options."""
    for kind in (SPACE, TASK, SEARCHER):
        group = values.get(kind.group or "")
        if isinstance(group, Mapping) and isinstance(group.get("name"), str):
            yield kind, group["name"]
    space = values.get("space")
    if isinstance(space, Mapping):
        for operation in space.get("operations") or ():
            yield OPERATION, operation


def _of_nas(kind: Kind, name: str) -> bool:
    """Return whether a name is built into nas."""
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
    """Return the version of a distribution; of a module that of its distribution, else its own, else a file hash."""
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
