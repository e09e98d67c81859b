"""Storages that cannot be reached are refused in one line, without the password."""

import shutil
import socket
import sqlite3
from pathlib import Path

import optuna
import pytest
import yaml

from nas.errors import UserError
from nas.sweeps.storage import open_storage, open_to_read
from tests.nas.commands import Ended, nas, refusal
from tests.nas.sweeps.sweeping import SWEEP


def refused(url: str, folder: Path) -> str:
    with pytest.raises(UserError) as error:
        open_storage(url, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:////nowhere/at/all/study.db", "cannot be reached: unable to open database file"),
        ("sqlite://", "is in memory, which other workers cannot read"),
        ("journal:/nowhere/at/all/study.journal", "is not in an existing folder"),
        ("journal:", "is not in an existing folder"),
        ("study", "sweep.storage=study is not a storage; give a database URL such as postgresql+psycopg://"),
        ("oracle+nothing://host/name", "is not a storage"),
    ],
)
def test_what_cannot_be_a_storage(url: str, told: str, tmp_path: Path) -> None:
    assert told in refused(url, tmp_path)


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        port = taken.getsockname()[1]
        told = refused(f"postgresql+psycopg://user:secret@127.0.0.1:{port}/name", tmp_path)
    assert f"sweep.storage=postgresql+psycopg://user:***@127.0.0.1:{port}/name cannot be reached: " in told
    assert "secret" not in told


def test_a_driver_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pymysql", None)
    assert "needs a driver: " in refused("mysql+pymysql://user@host/name", tmp_path)


def test_a_file_that_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.sweeps.storage.ATTEMPTS", 0)
    (tmp_path / "study.db").write_text("no database, " * 100)
    assert "cannot be reached: file is not a database" in refused(f"sqlite:///{tmp_path}/study.db", tmp_path)


def test_a_storage_that_is_lost_ends_a_sweep_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise optuna.exceptions.StorageInternalError("gone") from ConnectionError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr("nas.sweeps.trial.Watch.on_train_start", lost)
        ended = nas("sweep", *SWEEP, "sweep.trials=1", f"output={tmp_path}")
    assert ended.status == 1
    assert ended.err.startswith("error: sweep.storage=")
    assert (
        f"cannot be reached any more: the server is gone. Finished trials are kept; continue with resume={ended.run}"
        in ended.err
    )
    assert nas("sweep", f"resume={ended.run}").status == 0


@pytest.mark.parametrize("name", ["My%20Runs", "a?b=c", "x{y}", "p#q", "a::b", "$HOME"])
def test_a_study_lies_in_its_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    optuna.create_study(study_name="one", storage=open_storage(None, folder))
    assert [path.name for path in folder.iterdir()] == ["study.db"]
    moved = folder.rename(tmp_path / "moved")
    assert optuna.load_study(study_name="one", storage=open_to_read(moved)).study_name == "one"


def test_a_password_with_an_at_sign_is_refused_without_showing_it(tmp_path: Path) -> None:
    told = refused("postgresql+psycopg://user:se@cret@host/name", tmp_path)
    assert told == "sweep.storage=postgresql+psycopg://user:***@host/name has an @ in its password; write it as %40."


# What a stranger's folder may not do


@pytest.fixture
def given(swept: Ended, tmp_path: Path) -> Path:
    """A sweep from somebody else."""
    return Path(shutil.copytree(swept.run, tmp_path / "given"))


def changed(folder: Path, section: str, option: str, value: str) -> None:
    path = folder / "config.yaml"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    described["config"][section][option] = value
    path.write_text(yaml.safe_dump(described), encoding="utf-8")


@pytest.mark.parametrize("with_results", [True, False])
@pytest.mark.parametrize(
    "url", ["sqlite:///{0}/other.db", "journal:{0}/.bash_login", "postgresql+psycopg://u@127.0.0.1/x"]
)
def test_another_storage_is_not_opened_to_look_at_a_sweep(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, with_results: bool
) -> None:
    changed(given, "sweep", "storage", url.format(tmp_path))
    (given / "study.db").unlink()
    if not with_results:
        (given / "metrics.json").unlink()

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a storage was opened")

    for name in ("RDBStorage", "create_engine", "JournalFileBackend"):
        monkeypatch.setattr(f"nas.sweeps.storage.{name}", opened)
    before = {path.name for path in tmp_path.iterdir()}
    ended = nas("visualize", f"run={given}", f"output={tmp_path / 'page.html'}")
    if with_results:
        assert ended.status == 0, ended.err
    else:
        assert "which only its own command opens: python -m nas.sweep resume=" in ended.err
    message = refusal("sweep", f"resume={given}")
    assert "give its storage again: resume=" in message
    assert {path.name for path in tmp_path.iterdir()} - {"page.html"} == before


def test_an_interpolation_in_a_stored_config_is_not_resolved(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    (given / "metrics.json").unlink()
    changed(given, "sweep", "study", "${oc.env:SECRET}")
    for command, option in (("visualize", "run"), ("sweep", "resume")):
        message = refusal(command, f"{option}={given}")
        assert "sweep.study=${oc.env:SECRET} contains ${, but a stored config has plain values only" in message
        assert "hunter2" not in message


def test_looking_at_a_sweep_leaves_its_study_as_it_is(given: Path) -> None:
    before = (given / "study.db").read_bytes()
    (given / "study.db").chmod(0o444)
    assert nas("visualize", f"run={given}").status == 0
    assert (given / "study.db").read_bytes() == before
    connection = sqlite3.connect(given / "other.db")
    connection.execute("create table theirs (x)")
    connection.close()
    (given / "other.db").replace(given / "study.db")
    other = (given / "study.db").read_bytes()
    (given / "metrics.json").unlink()
    assert "study.db" in refusal("visualize", f"run={given}")
    assert (given / "study.db").read_bytes() == other


@pytest.mark.parametrize("empty", [True, False])
def test_a_sweep_whose_study_is_gone_does_not_start_anew(given: Path, empty: bool) -> None:
    (given / "study.db").unlink()
    if empty:
        (given / "study.db").touch()
    assert "study.db is missing or empty, but this sweep has trials; restore it" in refusal("sweep", f"resume={given}")


def test_a_password_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.sweeps.study.open_storage", lambda url, folder: open_storage(None, tmp_path))
    url = "postgresql+psycopg://user:hunter2@host/name"
    ended = nas("sweep", *SWEEP, "sweep.trials=1", f"sweep.storage={url}", f"output={tmp_path / 'outputs'}")
    assert ended.status == 0, ended.err
    assert nas("sweep", f"resume={ended.run}", f"sweep.storage={url}").status == 0
    found = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert found == []
    assert "hunter2" not in ended.out + ended.err
