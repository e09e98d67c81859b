"""Plugins for Hydra: their YAML files on its search path, their schemas, and the value of option ``plugins``."""

from collections.abc import Sequence

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

from nas import config
from nas.config import CONF, FOLDERS
from nas.errors import UserError
from nas.plugins.installed import KINDS, Kind, entry_point, yaml_folders
from nas.plugins.loading import find

OPTION = "plugins"
SCHEMA = "_schema"


def register() -> None:
    """Register with Hydra the schemas and YAML files of nas and of installed plugins."""
    config.register()
    FOLDERS.extend(folder for folder in yaml_folders() if folder not in FOLDERS)
    for plugin in (PluginFolders, PluginSchemas):
        Plugins.instance().register(plugin)


def given(arguments: Sequence[str]) -> list[str]:
    """Return the value of option ``plugins`` on a command line, whose modules are imported before Hydra composes.

    Raises:
        UserError: the value is not a list of names.
    """
    words = [word for word in arguments if word.lstrip("+").startswith(f"{OPTION}=")]
    if not words:
        return []
    last = OverridesParser.create().parse_overrides(words)[-1]
    value = None if last.is_sweep_override() else last.value()
    if isinstance(value, list) and all(isinstance(name, str) and name for name in value):
        return value
    raise UserError(f"{words[-1]} is not a list of modules; give for example {OPTION}=[my_module,folder/my_file.py].")


class PluginFolders(SearchPathPlugin):
    """Adds the plugins' folders of YAML files to Hydra's search path, after the folder of nas."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in FOLDERS:
            if folder != CONF:
                search_path.append("plugin", f"file://{folder}")
        search_path.append("plugin", f"{PluginSchemas.scheme()}://")


class PluginSchemas(ConfigSource):
    """The schemas of installed plugins; a plugin is imported when the defaults of a YAML file name its schema.

    The import stores the schema in Hydra's config store. Hydra, however, composes from a deep copy of the store that it
    made before. It copies this object too, so ``_store`` is that copy and contains only what Hydra finds by itself.
    """

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self._store = ConfigStore.instance()

    @staticmethod
    def scheme() -> str:
        return "nas-plugin"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return False

    def is_config(self, config_path: str) -> bool:
        stored = self._store.get_type(self._normalize_file_name(config_path)) == ObjectType.CONFIG
        return not stored and _announced(config_path) is not None

    def load_config(self, config_path: str) -> ConfigResult:
        announced = _announced(config_path)
        assert announced is not None
        find(*announced)
        stored = ConfigStore.instance().load(self._normalize_file_name(config_path))
        return ConfigResult(self.provider, self.full_path(), stored.node, {"package": stored.package})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []


def _announced(config_path: str) -> tuple[Kind, str] | None:
    """Return kind and name of the installed plugin whose schema this is; None for other files."""
    group, _, file = config_path.removesuffix(".yaml").strip("/").rpartition("/")
    name = file.removesuffix(SCHEMA)
    if name == file:
        return None
    return next(((kind, name) for kind in KINDS if kind.group == group and entry_point(kind, name)), None)
