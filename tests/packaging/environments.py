"""Environments to install wheels into, without a network: they see the tests' own packages behind what is installed."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class Environment:
    """A fresh virtual environment.

    Args:
        folder: where it is made.
        wheels: to install, in this order.
    """

    def __init__(self, folder: Path, *wheels: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.bin = folder / "bin"
        for wheel in wheels:
            self._pip("install", "--no-deps", "--no-index", str(wheel))
        (self.packages / "_base.pth").write_text("\n".join(PACKAGES))  # the name sorts before an editable install's

    @property
    def packages(self) -> Path:
        return next(self.bin.parent.glob("lib/python*/site-packages"))

    def uninstall(self, name: str) -> None:
        self._pip("uninstall", "--yes", name)

    def run(self, *command: str, cwd: Path, **environment: str) -> str:
        """Run one of the environment's programs, which must succeed, in a folder; return what it prints."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        variables = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "PATH": path} | environment
        variables.pop("PYTHONPATH", None)
        ended = subprocess.run(
            [shutil.which(command[0], path=path) or command[0], *command[1:]],
            cwd=cwd,
            env=variables,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def python(self, code: str, cwd: Path) -> str:
        """Run code with a folder as the current one; return what it prints."""
        return self.run("python", "-c", code, cwd=cwd)

    def _pip(self, *arguments: str) -> None:
        pip(f"--python={self.bin / 'python'}", *arguments)


def pip(*arguments: str) -> None:
    """Run the tests' own pip, which must succeed."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a source tree."""
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", f"--wheel-dir={folder}", str(source))
    return next(folder.glob("*.whl"))


def build_by_hook(hook: str, source: Path, folder: Path) -> Path:
    """Build a distribution as pip and build do it: by a hook of the build backend, in the source tree."""
    code = f"import hatchling.build, sys; print(hatchling.build.{hook}(sys.argv[1]))"
    folder.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=source, capture_output=True, text=True, check=True
    )
    return folder / ended.stdout.split()[-1]


def unpacked(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist; return its one folder."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


def write_wheel(folder: Path, name: str, package: str, code: str, version: str = "1.0") -> Path:
    """Write a wheel of a distribution with one top-level package."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    files = {
        f"{package}/__init__.py": code,
        f"{info}/METADATA": METADATA.format(name=name, version=version),
        f"{info}/WHEEL": WHEEL,
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path
