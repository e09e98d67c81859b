"""Runs that used a plugin: what they record, and what whoever reads them needs."""

import hashlib
from pathlib import Path

import pytest
import yaml

from nas.plugins.installed import TASK
from nas.plugins.registry import registered_names
from tests.nas.commands import MODEL, TRAINER, Ended, nas, refusal
from tests.nas.plugins.written import Plugins

TRAIN = ("architecture=linear", "data=theirs", *MODEL, *TRAINER, "trainer.steps=2")


def described(run: Path) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((run / "config.yaml").read_text())
    return found


def trained(plugins: Plugins, *options: str) -> Ended:
    ended = nas("train", *TRAIN, f"output={plugins.folder}/outputs", *options)
    assert ended.status == 0, ended.err
    plugins.unload()
    assert registered_names(TASK) == []
    return ended


def test_a_run_with_a_file_is_resumed_and_shown(plugins: Plugins) -> None:
    path = plugins.copy("tasks", "inner/echo.py")
    run = trained(plugins, "plugins=[inner/echo.py]").run
    version = f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    assert described(run)["plugins"] == [{"name": str(path), "version": version}]
    assert described(run)["config"]["plugins"] == [str(path)]  # type: ignore[index]
    told = f"run={run} uses the task theirs of a plugin that is not loaded; give plugins=[{path}] as well.\n"
    assert refusal("visualize", f"run={run}") == f"error: {told}"
    assert registered_names(TASK) == []
    shown = nas("visualize", f"run={run}", "plugins=[inner/echo.py]")
    assert shown.status == 0, shown.err
    plugins.unload()

    resumed = nas("train", f"resume={run}")
    assert (resumed.status, resumed.err) == (0, "")
    assert registered_names(TASK) == ["theirs"]
    plugins.unload()

    path.rename(plugins.folder / "echo.py")
    message = refusal("train", f"resume={run}")
    assert message == f"error: plugins=[{path}]: there is no such file; give the path of a .py file, or a module.\n"
    moved = nas("train", f"resume={run}", "plugins=[echo.py]")
    assert moved.status == 0, moved.err


def test_a_run_with_an_installed_plugin(plugins: Plugins) -> None:
    plugins.copy("tasks", "pack/tasks.py")
    plugins.write("pack/__init__.py", "")
    installed = plugins.install("their-project", "1.2", tasks="theirs = pack.tasks")
    run = trained(plugins).run
    assert described(run)["plugins"] == [{"name": "their-project", "version": "1.2"}]
    told = f"run={run} uses the task theirs of a plugin that is not loaded; install their-project (1.2 then)."
    assert refusal("visualize", f"run={run}") == f"error: {told}\n"
    message = refusal("train", f"resume={run}")
    assert message == f"error: {told.replace('run=', 'resume=', 1)}\n"

    del installed
    (plugins.folder / "their_project-1.2.dist-info").rename(plugins.folder / "unused")
    plugins.install("their-project", "1.3", tasks="theirs = pack.tasks")
    shown = nas("visualize", f"run={run}")
    assert shown.status == 0, shown.err
    assert shown.err == f"warning: run={run} was made with plugin their-project 1.2; the version here is 1.3.\n"


def test_a_run_without_plugins_records_none(search: Ended) -> None:
    assert "plugins" not in described(search.run)


@pytest.mark.parametrize("folder", ["runs=[{run}]"])
def test_a_comparison_of_a_run_with_a_plugin(plugins: Plugins, folder: str) -> None:
    plugins.copy("tasks", "echo.py")
    run = trained(plugins, "plugins=[echo.py]").run
    message = refusal("compare", folder.format(run=run))
    assert (
        message
        == f"error: {folder.format(run=run)} uses the task theirs of a plugin that is not loaded; give plugins=["
        + (f"{plugins.folder}/echo.py] as well.\n")
    )
