"""Import of plugins: the modules of option ``plugins``, and installed plugins by a name that a run uses."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from nas.config import CONF, FOLDERS
from nas.errors import UserError
from nas.plugins.installed import YAML, Kind, describe, entry_point, names
from nas.plugins.registry import Added, loading, registered, registered_names

LOADED: dict[str, str] = {}
"""Imported modules of option ``plugins`` by name, with the result of `load` for each."""


def find(kind: Kind, name: str) -> Added | None:
    """Return the addition of a name, after importing the installed plugin that has it; None if no plugin has it.

    Raises:
        UserError: the plugin cannot be imported, or does not register the name.
    """
    if (added := registered(kind, name)) is not None:
        return added
    entry = entry_point(kind, name)
    if entry is None:
        return None
    with loading(describe(entry)):
        _import(describe(entry), lambda: importlib.import_module(entry.module))
        if registered(kind, name) is None:
            raise _nothing(describe(entry), kind, name)
    return registered(kind, name)


def known(kind: Kind) -> list[str]:
    """Return the names that installed and imported plugins add, sorted."""
    return sorted({*names(kind), *registered_names(kind)})


def load(plugins: Sequence[str]) -> list[str]:
    """Import the modules of option ``plugins`` that are not imported yet.

    Args:
        plugins: names of modules, and paths of files that end in .py.

    Returns:
        ``plugins``, with absolute paths of files.

    Raises:
        UserError: a module cannot be imported, or registers nothing.
    """
    return [_load(given) for given in plugins]


def module_of(plugin: str) -> ModuleType | None:
    """Return the loaded module of an item of option ``plugins``; None if it is not loaded."""
    return sys.modules.get(Path(plugin).stem if _is_file(plugin) else plugin)


def _load(given: str) -> str:
    path = Path(os.path.abspath(Path(given).expanduser())) if _is_file(given) else None
    if path and not path.is_file():
        raise UserError(f"plugins=[{given}]: there is no such file; give the path of a .py file, or a module.")
    _importable(path.parent if path else Path.cwd())
    name = path.stem if path else given
    fresh = name not in sys.modules
    label = f"plugins=[{given}]"
    with loading(label) as new:
        module = _import(label, lambda: importlib.import_module(name))
        if path and not _same_file(module, path):
            raise UserError(
                f"plugin {label}: the name {name} belongs to the module {module.__file__ or 'of that name in Python'}; "
                "rename the file."
            )
    if fresh and not new:
        raise UserError(
            f"plugin {label} registers nothing; call register_space, register_operation, register_task or "
            "register_searcher of nas.plugins in it."
        )
    _add_yaml(module)
    LOADED[name] = str(path) if path else given
    return LOADED[name]


def _is_file(plugin: str) -> bool:
    return plugin.endswith(".py")


def _same_file(module: ModuleType, path: Path) -> bool:
    return module.__file__ is not None and Path(module.__file__).resolve() == path.resolve()


def _importable(folder: Path) -> None:
    """Put a folder first in ``sys.path``, as ``python -m`` and ``python file.py`` do; spawned processes inherit it."""
    if not {str(folder), str(folder.resolve())} & {os.path.abspath(entry) for entry in sys.path}:
        sys.path.insert(0, str(folder))


def _add_yaml(module: ModuleType) -> None:
    """Add the YAML files in the folder of a module to Hydra's folders."""
    if module.__file__ is None:
        return
    folder = Path(module.__file__).parent / YAML
    if folder.is_dir() and folder not in FOLDERS and folder.resolve() != CONF.resolve():
        FOLDERS.append(folder)


def _import(plugin: str, importing: Callable[[], ModuleType]) -> ModuleType:
    """Import a module of a plugin; raise a UserError that names the plugin if that fails."""
    try:
        return importing()
    except UserError as error:
        raise UserError(f"plugin {plugin}: {error}") from error
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise UserError(
            f"plugin {plugin} cannot be imported: {type(error).__name__}: {reason}{_place(error)}"
        ) from error


def _place(error: BaseException) -> str:
    """Return file and line of an error, for the author of the plugin; empty if the import itself failed."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or frames[-1].filename.startswith("<frozen"):
        frames = traceback.StackSummary(frame for frame in frames if not frame.filename.startswith("<frozen"))
    inner = [frame for frame in frames if frame.filename not in (__file__, importlib.__file__)]
    return f" ({inner[-1].filename}, line {inner[-1].lineno})" if inner else ""


def _nothing(plugin: str, kind: Kind, name: str) -> UserError:
    return UserError(
        f"plugin {plugin} registers no {kind.name} {name}; call register_{kind.name}({name!r}, ...) of nas.plugins in "
        "the module that the entry point names."
    )
