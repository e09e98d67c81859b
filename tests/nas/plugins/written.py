"""Plugins that a test writes into a folder."""

import importlib
import sys
from importlib.metadata import Distribution
from pathlib import Path

from nas.config import FOLDERS
from nas.models.operations import OPERATIONS
from nas.plugins import registry
from nas.plugins.loading import LOADED
from nas.search_spaces import operations as mixers

EXAMPLE = Path(__file__).parents[2] / "plugins" / "example_project" / "their_package"
"""The package of a whole example."""


class Plugins:
    """Writes plugins into a folder, and undoes what importing them did.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders, self._added = FOLDERS[:], set(registry._added)

    def write(self, name: str, text: str) -> Path:
        """A file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return path

    def copy(self, part: str, name: str) -> Path:
        """The module of the example that registers a part of it, under the name of a file; and all YAML beside it."""
        for yaml in (EXAMPLE / "conf").rglob("*.yaml"):
            self.write(f"{Path(name).parent}/conf/{yaml.relative_to(EXAMPLE / 'conf')}", yaml.read_text())
        return self.write(name, (EXAMPLE / f"{part}.py").read_text())

    def install(self, distribution: str, version: str, **entries: str) -> Distribution:
        """What pip writes of a package, for modules in this folder; entries: ``spaces="theirs = module"``, ..."""
        lines = [f"[nas.{group}]\n{entry}" for group, entry in entries.items()]
        folder = f"{distribution.replace('-', '_')}-{version}.dist-info"
        self.write(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        self.write(f"{folder}/entry_points.txt", "\n".join(lines) + "\n")
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        return Distribution.at(self.folder / folder)

    def unload(self) -> None:
        """Make everything as if no plugin had been imported."""
        for kind, name in set(registry._added) - self._added:
            registry._forget(kind, name)
            if OPERATIONS.pop(name, None) is not None:
                mixers._operations.remove(name)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and Path(file).is_relative_to(self.folder):
                del sys.modules[name]
        sys.path[:] = [entry for entry in sys.path if entry != str(self.folder)]
        FOLDERS[:] = self._folders
        LOADED.clear()
