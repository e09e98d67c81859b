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
        ("postgresql+psycopg://user:secret@host:port/name", "//user:***@host:port/name is not a storage; give a"),
        ("postgresql+psycopg://user:secret@host:65536/name", "//user:***@host:65536/name is not a storage; give a"),
    ],
)
def test_what_cannot_be_a_storage(url: str, told: str, tmp_path: Path) -> None:
    assert told in refused(url, tmp_path)


def test_a_driver_that_tells_the_password_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no server for user with password se:cret")

    monkeypatch.setattr("nas.sweeps.storage.create_engine", refuse)
    told = refused("postgresql+psycopg://user:se%3Acret@host/name", tmp_path)
    assert told.endswith("//user:***@host/name cannot be reached: no server for user with password ***")


@pytest.mark.parametrize("damage", ["nonsense\n", "3\n", '{"op_code":', b"\xff\xfe\n", '{"op_code": 0}\n'])
@pytest.mark.parametrize("last", [True, False])
def test_a_journal_with_a_bad_line(tmp_path: Path, damage: str | bytes, last: bool) -> None:
    path = tmp_path / "study.journal"
    url = f"journal:{path}"
    optuna.create_study(study_name="one", storage=open_storage(url, tmp_path))
    lines = path.read_bytes().splitlines(keepends=True)
    bad = damage.encode() if isinstance(damage, str) else damage
    path.write_bytes(b"".join([*lines, bad] if last else [bad, *lines]))
    told = refused(url, tmp_path)
    assert str(path) in told
    assert " damaged" in told
    assert not (tmp_path / "study.journal.lock").is_symlink()


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
    return Path(shutil.copytree(swept.run, tmp_path / "given", ignore=shutil.ignore_patterns("checksums.json")))


def changed(folder: Path, section: str, option: str, value: object) -> None:
    path = folder / "config.yaml"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    described["config"][section][option] = value
    path.write_text(yaml.safe_dump(described), encoding="utf-8")


def test_the_command_line_of_the_searches_is_not_composed_to_look_at_a_sweep(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = yaml.safe_load((given / "config.yaml").read_text())
    described["config"]["sweep"]["search"] = ["hydra.searchpath=[pkg://theirs]"]
    (given / "config.yaml").write_text(yaml.safe_dump(described))
    monkeypatch.setattr("nas.cli.composing.compose", None)
    assert nas("visualize", f"run={given}").status == 0


@pytest.mark.parametrize(
    ("section", "option", "value", "told"),
    [
        ("trainer", "steps", 0, "trainer.steps=0"),
        ("sweep", "study", "$(command)", "sweep.study='$(command)' is not allowed"),
        ("sweep", "search", ["data.path=${oc.env:HOME}"], "contains ${"),
    ],
)
def test_stored_options_are_checked_like_given_ones(
    given: Path, section: str, option: str, value: object, told: str
) -> None:
    (given / "metrics.json").unlink()
    changed(given, section, option, value)
    assert told in refusal("visualize", f"run={given}")
    assert told in refusal("sweep", f"resume={given}")


def test_a_link_to_a_database_of_another_program_is_not_opened(given: Path, tmp_path: Path) -> None:
    other = (given / "study.db").rename(tmp_path / "other.db")
    (given / "study.db").symlink_to(other)
    (given / "metrics.json").unlink()
    before = other.read_bytes()
    for command, option in (("visualize", "run"), ("sweep", "resume")):
        assert "study.db is a link" in refusal(command, f"{option}={given}")
    assert other.read_bytes() == before


DAMAGES = (
    "delete from trial_values",
    "delete from studies",
    "drop table trials",
    "update trial_user_attributes set value_json = 'no json'",
    "update trial_params set distribution_json = '{}'",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_study(given: Path, damage: str) -> None:
    (given / "metrics.json").unlink()
    with sqlite3.connect(given / "study.db") as connection:
        connection.execute(damage)
    connection.close()
    for command, option in (("visualize", "run"), ("sweep", "resume")):
        ended = nas(command, f"{option}={given}")
        assert "Traceback" not in ended.err
        assert ended.status == 0 or ended.err.count("\n") == 1, ended.err


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
