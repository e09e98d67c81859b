"""Loggers beside TensorBoard: what they get, and what is said where one cannot start."""

import csv
import sqlite3
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.options.logging import LoggerConfig
from nas.runs.folder import Run, read_json
from nas.runs.history import history
from nas.training import loggers
from nas.training.loggers import IDS, check_loggers
from tests.nas.commands import SHORT, SMALL, nas

TRAIN = ("architecture=linear-softmax", *SMALL, *SHORT)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_whose_package_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "_is_installed", lambda package: False)
    with pytest.raises(UserError, match=rf"logger={name} needs .* pip install 'nas-hybrid-attention\[{name}\]'"):
        check_loggers(LoggerConfig(**{name: True}))
    check_loggers(LoggerConfig(csv=True))


def test_a_logger_that_cannot_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(loggers, "_mlflow", refuse)
    with pytest.raises(UserError, match=r"logger=mlflow cannot start: no route to host Give another logger"):
        loggers.loggers(LoggerConfig(mlflow=True), Run(tmp_path), 0)


def test_services_get_the_scalars_offline_and_a_resumed_run_continues_there(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    services = ("logger=[wandb,mlflow]", "logger.offline=true", "trainer.checkpoint_every=1")
    ended = nas("train", *TRAIN, *services, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    ids = read_json(ended.run / IDS)
    assert nas("train", f"resume={ended.run}", "trainer.steps=3").status == 0
    assert read_json(ended.run / IDS) == ids
    assert {path.name for path in ended.run.glob("wandb/offline-run-*/*.wandb")} == {f"run-{ids['wandb']}.wandb"}
    with sqlite3.connect(ended.run / "mlflow" / "mlflow.db") as database:
        found = database.execute(
            "select run_uuid, step, value from metrics where key = 'loss' order by step"
        ).fetchall()
    assert [run for run, _, _ in found] == [ids["mlflow"]] * 3
    logged = [(row["step"], row["loss"]) for row in history(Run(ended.run))]
    assert [(step, value) for _, step, value in found] == [(step, pytest.approx(loss)) for step, loss in logged]


def test_a_resumed_run_may_go_on_in_another_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    ended = nas("train", *TRAIN, "logger=mlflow", "trainer.checkpoint_every=1", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    before = read_json(ended.run / IDS)
    database = tmp_path / "other.db"
    other = nas("train", f"resume={ended.run}", "trainer.steps=3", f"logger.tracking_uri=sqlite:///{database}")
    assert other.status == 0, other.err
    after = read_json(ended.run / IDS)
    assert after["mlflow"] != before["mlflow"]
    with sqlite3.connect(database) as opened:
        found = opened.execute("select run_uuid, step from metrics where key = 'loss'").fetchall()
        assert opened.execute("select count(*) from params").fetchone()[0] > 0
    assert found == [(after["mlflow"], 3)]


def rows_of(run: Path) -> list[dict[str, str]]:
    """The table of a run, without empty cells."""
    with (run / "csv" / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
