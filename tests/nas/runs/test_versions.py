import platform
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from nas.runs import versions

OURS = '[project]\nname = "nas-hybrid-attention"\n'


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def repository(folder: Path, pyproject: str | None, package: str) -> str:
    """Make a git repository that has a package at a path; return its commit."""
    module = folder / package / "runs" / "versions.py"
    module.parent.mkdir(parents=True)
    module.touch()
    if pyproject is not None:
        (folder / "pyproject.toml").write_text(pyproject)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=First")
    return git(folder, "rev-parse", "HEAD")


def commit_seen_from(monkeypatch: pytest.MonkeyPatch, package: Path) -> str | None:
    """Return what `commit` returns if the package is at a path."""
    monkeypatch.setattr(versions, "__file__", str(package / "runs" / "versions.py"))
    return versions.commit()


def test_the_commit_of_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head = repository(tmp_path, OURS, "nas")
    assert commit_seen_from(monkeypatch, tmp_path / "nas") == head
    (tmp_path / "nas" / "runs" / "versions.py").write_text("changed")
    assert commit_seen_from(monkeypatch, tmp_path / "nas") == f"{head}+"


@pytest.mark.parametrize(
    ("pyproject", "package"),
    [
        ('[project]\nname = "theirs"\n', ".venv/lib/python3.12/site-packages/nas"),
        ('[project]\nname = "theirs"\n', "nas"),
        (OURS, ".venv/lib/python3.12/site-packages/nas"),
        ("[tool.black]\n", "nas"),
        ("project = 3\n", "nas"),
        ("no TOML", "nas"),
        (None, "nas"),
    ],
)
def test_a_package_in_the_repository_of_another_project_has_no_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pyproject: str | None, package: str
) -> None:
    repository(tmp_path, pyproject, package)
    assert commit_seen_from(monkeypatch, tmp_path / package) is None


def test_a_package_outside_git_has_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nas" / "runs").mkdir(parents=True)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert commit_seen_from(monkeypatch, tmp_path / "nas") is None


def test_versions_name_python_and_torch() -> None:
    assert {"python", "torch", "lightning"} <= versions.versions().keys()


def test_the_version_of_the_distribution_is_recorded_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"nas-hybrid-attention": "1.2.3"}

    def version(name: str) -> str:
        if name not in known:
            raise PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    assert versions.versions() == {"python": platform.python_version(), "nas-hybrid-attention": "1.2.3"}
    known.clear()
    assert versions.versions().keys() == {"python"}


def test_the_hardware_of_a_cpu_run() -> None:
    hardware = versions.hardware("cpu")
    assert hardware["device"].startswith("CPU (")
    assert hardware["count"] == 1


def test_the_project_has_the_name_that_is_looked_for() -> None:
    """The name in `pyproject.toml` and the constant must change together."""
    top = Path(__file__).parents[3]
    assert versions._is_checkout(top, top / "nas")
