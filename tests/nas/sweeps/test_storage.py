"""Storages that cannot be reached are refused in one line, without the password."""

import socket
from pathlib import Path

import optuna
import pytest

from nas.errors import UserError
from nas.sweeps.storage import open_storage
from tests.nas.commands import nas
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
