"""What the archives and an editable install hold: one import name, and everything below it."""

import os
import tarfile
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, Environment, build_by_hook, build_wheel, unpacked

MODULES = ("nas", "nas.kernels", "nas.kernels.gated_delta_rule", "nas.search_spaces", "nas.search_spaces.joint")
FOUND = f"""
from importlib import import_module
print(*(import_module(name).__file__ for name in {MODULES}), sep="\\n")
from nas.config import CONF
print(CONF / "search.yaml", (CONF / "search.yaml").is_file())
"""


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_by_hook("build_sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def editable(kernels_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with an editable install, and with somebody else's package `kernels`."""
    folder = tmp_path_factory.mktemp("editable")
    return Environment(folder / "venv", build_by_hook("build_editable", ROOT, folder), kernels_wheel)


def files_of(folder: Path) -> list[str]:
    """Return where the modules and the YAML files lie in a folder that holds the package."""
    packages = MODULES[:-1]
    modules = [str(folder / name.replace(".", "/") / "__init__.py") for name in packages]
    return [*modules, str(folder / "nas/search_spaces/joint.py"), f"{folder / 'nas/conf/search.yaml'} True"]


def below_nas() -> set[str]:
    """Return every file of the project that belongs below nas/, through the links."""
    found = (Path(folder, file) for folder, _, files in os.walk(ROOT / "nas", followlinks=True) for file in files)
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_one_import_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len({*names})
    modules = {name for name in names if ".dist-info/" not in name}
    assert modules == below_nas()
    assert {
        "nas/py.typed",
        "nas/kernels/gated_delta_rule/reference.py",
        "nas/search_spaces/joint.py",
        "nas/conf/search.yaml",
        "nas/conf/space/joint.yaml",
        "nas/report/templates/page.html.j2",
        "nas/cli/shells/bash.sh",
    } <= modules


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert len(names) == len({*names})
    again = build_wheel(unpacked(sdist, tmp_path / "source"), tmp_path / "wheel")
    assert again.read_bytes() == wheel.read_bytes()


def test_imports_read_the_same_in_a_checkout() -> None:
    assert [import_module(name).__name__ for name in MODULES] == [*MODULES]
    assert [import_module(name).__file__ for name in MODULES] == files_of(ROOT)[:-1]


def test_imports_read_the_same_in_an_editable_install(editable: Environment, tmp_path: Path) -> None:
    assert editable.python(FOUND, tmp_path).splitlines() == files_of(ROOT)


def test_imports_read_the_same_from_a_wheel(installed: Environment, tmp_path: Path) -> None:
    assert installed.python(FOUND, tmp_path).splitlines() == files_of(installed.packages)


def test_an_unpacked_sdist_can_be_installed_editable(sdist: Path, tmp_path: Path) -> None:
    source = unpacked(sdist, tmp_path / "source")
    environment = Environment(tmp_path / "venv", build_by_hook("build_editable", source, tmp_path / "wheel"))
    told = environment.python("import nas.search_spaces as spaces; print(spaces.__file__, spaces.names())", tmp_path)
    assert told.startswith(str(source / "nas" / "search_spaces"))
    assert "joint" in told


def test_an_editable_install_leaves_other_names_alone(editable: Environment, tmp_path: Path) -> None:
    code = f"""
import nas
from importlib.util import find_spec
from kernels import get_kernel
print(get_kernel("x"))
for name in ("kernels", "search_spaces", "conf", "experiments", "tests"):
    spec = find_spec(name)
    print(name, spec is not None and f"{ROOT}/{{name}}" in spec.submodule_search_locations)
"""
    told = editable.python(code, tmp_path).splitlines()
    assert told == [
        "kernel x",
        *(f"{name} False" for name in ("kernels", "search_spaces", "conf", "experiments", "tests")),
    ]


def test_every_command_is_installed(installed: Environment, tmp_path: Path) -> None:
    code = """
from importlib.metadata import distribution
points = distribution("nas-hybrid-attention").entry_points.select(group="console_scripts")
print(*sorted(f"{point.name} {point.load().__module__}" for point in points), sep="\\n")
"""
    commands = [line.split()[0] for line in installed.python(code, tmp_path).splitlines()]
    assert commands == [
        f"nas-{name}"
        for name in ("compare", "evaluate", "export", "generate", "prepare", "search", "sweep", "train", "visualize")
    ]
    assert all((installed.bin / command).is_file() for command in commands)
    assert "python -m nas.visualize " in installed.run("nas-visualize", "--help", cwd=tmp_path)
