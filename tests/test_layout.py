"""The layout of the code: every module has its test file, imports run down only, and nothing goes in circles."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from nas.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
LINKED = ("search_spaces", "kernels", "conf")
"""Folders beside nas/ that are imported as parts of it, through links in it."""
MOST_MODULES = 7
"""Directly in nas/, beside the commands."""
UNTESTED: dict[str, str] = {}
"""Modules without a test file of their own, and why."""


def sources(folder: str) -> Iterator[Path]:
    """Python files below a folder, not those behind links in it."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if not any(parent.is_symlink() for parent in path.parents):
            yield path.relative_to(ROOT)


def name_of(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return f"nas.{name}" if parts[0] in LINKED else name


FILES = {name_of(path): path for folder in ("nas", *LINKED, "experiments") for path in sources(folder)}


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in FILES else node.module)
    return found & FILES.keys()


IMPORTS = {name: imported(path) - {name} for name, path in FILES.items()}


def room_of(module: str) -> str:
    """The folder of a module, as far as rooms of nas go: nas.models.mixers is in nas.models, nas.search in nas."""
    first, *rest = module.split(".")
    is_folder = FILES[module].name == "__init__.py"
    return f"{first}.{rest[0]}" if len(rest) > 1 or (rest and is_folder) else first


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle of a graph, in its order; none where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_graph_is_read_from_every_import(tmp_path: Path) -> None:
    text = "\n".join(
        (
            "import nas.config, os",
            "from typing import TYPE_CHECKING",
            "if TYPE_CHECKING:",
            "    from nas.models import mixers",
            "def late():",
            "    from nas.errors import UserError",
        )
    )
    (tmp_path / "file.py").write_text(text)
    assert imported(tmp_path / "file.py") == {"nas.config", "nas.models.mixers", "nas.errors"}
    assert circle({"a": "b", "b": "c", "c": "a", "d": "a"}) in (list("acba"), list("cbac"), list("bacb"))
    assert circle({"a": "bc", "b": "c"}) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(IMPORTS) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for module, others in IMPORTS.items():
        rooms.setdefault(room_of(module), set()).update(map(room_of, others))
    within = {room: others - {room, "nas"} for room, others in rooms.items() if room != "nas"}
    assert circle(within) == []


@pytest.mark.parametrize(
    ("room", "allowed"),
    [
        ("nas.kernels", ("nas.kernels",)),
        ("nas.search_spaces", ("nas.search_spaces",)),
        ("nas", ("nas",)),
    ],
)
def test_imports_run_down_only(room: str, allowed: tuple[str, ...]) -> None:
    upwards = {
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if is_in(module, room) and not any(is_in(other, one) for one in allowed)
    }
    assert upwards == set()


def is_in(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def test_few_modules_stand_directly_in_the_package() -> None:
    direct = {path.stem for path in sources("nas") if len(path.parts) == 2 and path.name != "__init__.py"}
    assert {*COMMANDS} < direct
    direct -= {*COMMANDS}
    assert len(direct) <= MOST_MODULES, direct


def mirrored(path: Path) -> Path:
    """Where the tests of a module are: tests/nas/room/test_module.py, and in a folder's own those of the folder."""
    name = f"{path.parent.name}.py" if path.name == "__init__.py" else path.name
    return Path("tests") / path.parent / f"test_{name}"


def test_every_module_has_its_test_file() -> None:
    modules = [path for folder in ("nas", "search_spaces") for path in sources(folder) if path.name != "__init__.py"]
    missing = [str(mirrored(path)) for path in modules if not (ROOT / mirrored(path)).exists()]
    assert [path for path in missing if path not in UNTESTED] == []
    assert UNTESTED.keys() <= set(missing), "has its test file by now"


def test_every_test_file_is_of_a_module() -> None:
    files = [path for folder in ("tests/nas", "tests/search_spaces") for path in sources(folder)]
    known = {mirrored(path) for folder in ("nas", "search_spaces") for path in sources(folder)}
    assert [str(path) for path in files if path.name.startswith("test_") and path not in known] == []


@pytest.mark.parametrize("path", [path for path in sources("tests/nas") if path.name.startswith("test_")], ids=str)
def test_every_test_file_has_tests(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text())
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    assert defined or classes
