"""Spaces, operations, tasks and searchers of other people, as their users install and use them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.nas.commands import MODEL, ROOT, SMALL, TRAINER, Ended, nas, refusal
from tests.nas.plugins.written import Plugins
from tests.nas.processes import process

PROJECT = ROOT / "tests" / "plugins" / "example_project"
THEIRS = ("data=theirs", *MODEL, *TRAINER, "data.length_factors=[1]")
SEARCH = ("+space=theirs", "searcher=theirs", "budget.target=1", "budget.exact=false", *THEIRS)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example project is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(PROJECT, folder / "source")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(folder / "target")]
    made = subprocess.run([*pip, str(folder / "source")], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder / "target"


def started(installed: Path, *arguments: str) -> Ended:
    """A command in a process of its own which finds the example project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(installed))
        running = process("-m", *arguments)
    out, err = running.communicate()
    return Ended(running.returncode, out, err)


def described(run: Path) -> Any:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_an_installed_project_is_searched_with(installed: Path, tmp_path: Path) -> None:
    ended = started(installed, "nas.search", *SEARCH, f"output={tmp_path}")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("Searching theirs on theirs, run folder ")
    found = json.loads((ended.run / "metrics.json").read_text())
    assert len(found["choices"]) == 3
    candidates = json.loads((ended.run / "candidates.json").read_text())
    assert [candidate["code"] for candidate in candidates] == [[3, 0, 3], [3, 0, 2], [3, 0, 1]]
    layers = json.loads((ended.run / "architecture.json").read_text())["architecture"]["layers"]
    assert {layer.get("mlp_width") for layer in layers[::2]} <= {16, 24}
    assert layers[1] == {"mixer": "linear", "chunk_size": 8}
    own = described(ended.run)
    assert own["plugins"] == [{"name": "their-project", "version": "1.2"}]
    assert own["config"]["space"]["every"] == 2
    assert (own["config"]["data"]["back"], own["config"]["searcher"]["backwards"]) == (2, True)

    refused = started(installed, "nas.search", *SEARCH, "data.backk=1")
    assert refused.err.startswith("error: data.backk is not an option; did you mean data.back? data has: name, length")


def test_an_installed_operation_is_trained_by_name(installed: Path, plugins: Plugins, tmp_path: Path) -> None:
    shutil.copytree(installed, plugins.folder, dirs_exist_ok=True)
    sys.path.insert(0, str(plugins.folder))
    options = ("model.layers=2", *SMALL, "trainer.steps=2", f"output={tmp_path}")
    ended = nas("train", "architecture=linear-mean", *options)
    assert (ended.status, ended.err) == (0, "")
    assert described(ended.run)["plugins"] == [{"name": "their-project", "version": "1.2"}]
    again = nas("train", f"architecture={ended.run}/architecture.json", *options)
    assert (again.status, again.err) == (0, "")
    shown = nas("visualize", f"run={again.run}")
    assert (shown.status, shown.err) == (0, "")
    plugins.unload()
    absent = refusal("visualize", f"run={again.run}")
    assert "uses a plugin that is not loaded; install their-project (1.2 then)" in absent


def test_help_lists_an_installed_project(installed: Path) -> None:
    ended = started(installed, "nas.search", "--help")
    space = "one of: chunk_size, joint, layer_hybrid, theirs, token_hybrid"
    for text in (space, "pairs, random, rule, theirs", "text, theirs"):
        assert text in ended.out


def whole_example(plugins: Plugins) -> str:
    """The example as files of one's own; returns the option for them."""
    files = [plugins.copy(part, f"mine/{part}_of_mine.py") for part in ("spaces", "operations", "tasks", "searchers")]
    return f"plugins=[{','.join(map(str, files))}]"


def test_files_of_ones_own_are_searched_with(plugins: Plugins, tmp_path: Path) -> None:
    option = whole_example(plugins)
    for given, told in (
        ("space.every=0", "space.every=0 is too small"),
        ("data.back=99", "data.back=99 leaves nothing"),
    ):
        assert refusal("search", option, *SEARCH, given, f"output={tmp_path}").startswith(f"error: {told}")
    ended = nas("search", option, *SEARCH, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert [plugin["version"][:7] for plugin in described(ended.run)["plugins"]] == ["sha256 "] * 4


def test_workers_of_a_sweep_have_the_plugins(plugins: Plugins, tmp_path: Path) -> None:
    sweep = ("sweep.trials=2", "sweep.workers=2", "+sweep.ranges.space.every.choices=[1,2]", "trainer.steps=2")
    option = whole_example(plugins)
    ended = nas("sweep", option, *SEARCH, *sweep, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    trials = json.loads((ended.run / "metrics.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 2
    for run in (ended.run / "search").iterdir():
        assert described(run)["config"]["plugins"] == described(ended.run)["config"]["plugins"]
        assert [Path(plugin["name"]).stem for plugin in described(run)["plugins"]] == [
            *("spaces_of_mine", "operations_of_mine", "tasks_of_mine", "searchers_of_mine")
        ]


def test_workers_of_a_comparison_have_the_plugins(plugins: Plugins, tmp_path: Path) -> None:
    path = plugins.copy("tasks", "mine/tasks_of_mine.py")
    few = (
        "seeds=1",
        "workers=2",
        "learning_rates=[0.01]",
        "timing=false",
        "trainer.steps=2",
        "baselines=[linear,softmax]",
    )
    ended = nas("compare", f"plugins=[{path}]", *THEIRS, *few, "trainer.steps=2", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    runs = list((ended.run / "train").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert [plugin["name"] for plugin in described(run)["plugins"]] == [str(path)]
