"""The run folder: whole files or none, what a stranger's file may not do, and what is said where it is damaged."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import Tensor

from nas.config import RunConfig, restore
from nas.errors import UserError
from nas.files.lock import locked
from nas.files.saving import replacing
from nas.runs import checkpoints
from nas.runs.folder import Run, command_line
from nas.training.module import TrainingModule
from tests.nas.commands import SEARCH, SHORT, composed, contents, nas, refusal


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    made: RunConfig = composed("search", *SEARCH, f"output={tmp_path / 'outputs'}")
    return made


@pytest.fixture
def run(config: RunConfig) -> Run:
    return Run.create("search", config)


# Writing


def test_a_new_folder_tells_what_made_it(run: Run, config: RunConfig) -> None:
    assert re.fullmatch(r"\d{4}(-\d\d){2}_(\d\d-){2}\d\d_token_hybrid_recall", run.path.name)
    assert run.path.parent == Path(config.output) / "search"
    described = yaml.safe_load((run.path / "config.yaml").read_text())
    assert described["command"] == "search"
    assert described["config"]["seed"] == 0
    assert described["config"]["model"]["width"] == 16
    assert set(described["versions"]) >= {"python", "torch", "lightning"}
    assert described["commit"] is None or re.fullmatch(r"[0-9a-f]{40}\+?", described["commit"])


def test_runs_of_one_second_get_folders_of_their_own(config: RunConfig) -> None:
    assert len({Run.create("search", config).path for _ in range(4)}) == 4


@pytest.mark.parametrize("name", ["", " ", "a/b"])
def test_a_name_that_is_none_is_refused(config: RunConfig, name: str) -> None:
    config.name = name
    with pytest.raises(UserError, match="; give a word"):
        Run.create("search", config)


@pytest.mark.parametrize("options", [SEARCH, ("+space=token_hybrid", "data=text", "model.routed_layers=[1]")])
def test_the_config_comes_back_as_it_was(tmp_path: Path, options: tuple[str, ...]) -> None:
    given = composed("search", *options, f"output={tmp_path}", "budget.target=0.125")
    back = restore("search", Run.create("search", given).config())
    assert back == given
    assert type(back.data) is type(given.data)


def write_half(path: Path) -> Path:
    """Write a file of which the second half fails; where the first half was written."""
    with suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of")
        raise RuntimeError
    return temporary


def test_a_write_that_fails_leaves_what_was_there(run: Run) -> None:
    run.write_text("report.html", "old")
    write_half(run.path / "report.html")
    assert contents(run.path)["report.html"] == b"old"
    assert set(contents(run.path)) == {"config.yaml", "report.html", "checksums.json"}


def test_what_a_kill_left_half_written_is_removed_by_the_next_process(run: Run) -> None:
    write_half(run.path / "a").write_text("half of", encoding="utf-8")
    run.write_text("a", "whole")
    assert len(contents(run.path)) == 4
    with locked(run.path):
        pass
    assert set(contents(run.path)) == {"config.yaml", "a", "checksums.json"}


def test_numbers_that_are_not_finite_become_null(run: Run) -> None:
    run.write_json("metrics.json", {"a": float("nan"), 3: [float("inf"), 1.5], "b": (True, None)})
    text = (run.path / "metrics.json").read_text()
    assert json.loads(text) == {"a": None, "3": [None, 1.5], "b": [True, None]}


# What a stranger's file may not do


def test_a_config_with_python_in_it_is_not_run(editable: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    (editable / "config.yaml").write_text(
        f'config: !!python/object/apply:os.system ["touch {bomb}"]\ncommand: search\n'
    )
    assert "config.yaml is missing or damaged" in refusal("search", f"resume={editable}")
    assert not bomb.exists()


# Folders that cannot be resumed: one message, and nothing in them changes


def refused(folder: Path, *options: str) -> str:
    before = contents(folder)
    message = refusal("search", *options, f"resume={folder}")
    assert contents(folder) == before
    assert str(folder) in message
    return message


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        b"",
        b"a: [",
        b"\xff\xfe\x00\x01",
        b"just a sentence",
        b"command: search",
        b"config: {}",
        b"command: 3\nconfig: {}",
    ],
)
def test_a_damaged_config(editable: Path, damaged: bytes | None) -> None:
    (editable / "config.yaml").unlink()
    if damaged is not None:
        (editable / "config.yaml").write_bytes(damaged)
    assert "config.yaml is missing or damaged" in refused(editable)


def test_a_config_of_another_version(editable: Path) -> None:
    text = (editable / "config.yaml").read_text()
    told = f"error: resume={editable} has a config that this version cannot read: "
    for old, new, said in (
        ("warmup_steps", "warm_up_steps", "trainer.warm_up_steps is not an option; did you mean trainer.warmup_steps?"),
        ("steps: 6", "steps: six", "trainer.steps: Value 'six' of type 'str' could not be converted to Integer"),
        ("name: recall", "name: poems", "data.name"),
        ("data:", "corpus:", "data.name"),
    ):
        (editable / "config.yaml").write_text(text.replace(old, new))
        assert refusal("search", f"resume={editable}").startswith(told + said)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("model.safetensors", "visualize"),
        ("architecture.json", "visualize"),
        ("metrics.json", "visualize"),
        ("metrics.json", "compare"),
        ("config.yaml", "visualize"),
        ("config.yaml", "compare"),
        ("config.yaml", "search"),
        ("routing.json", "search"),
    ],
)
def test_other_damaged_files_are_named_before_they_are_used(finished: Path, name: str, command: str) -> None:
    checkpoints.paths(finished)[0].unlink()
    content = bytearray((finished / name).read_bytes())
    content[-10] ^= 1
    (finished / name).write_bytes(content)
    option = {"visualize": f"run={finished}", "compare": f"runs=[{finished}]", "search": f"resume={finished}"}[command]
    assert f"{finished / name} is damaged: its checksum is not" in refusal(command, option)


def test_a_folder_appears_with_its_config(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Run, name: str, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            Run.create("search", config)
    (hidden,) = (tmp_path / "outputs" / "search").iterdir()
    assert hidden.name.startswith(".")
    os.utime(hidden, (0, 0))
    run = Run.create("search", config)
    assert list((tmp_path / "outputs" / "search").iterdir()) == [run.path]


@pytest.mark.parametrize("name", ["tensorboard", "checkpoints"])
def test_folders_of_a_run_that_are_links_are_not_written_through(finished: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    checkpoints.paths(finished)[0].unlink()
    (finished / name).rename(elsewhere)
    (finished / name).symlink_to(elsewhere)
    before = contents(elsewhere)
    assert f"{finished / name} is a link, so files would be written to another folder" in refused(finished)
    assert contents(elsewhere) == before


# Places that cannot be written to


def test_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    message = refusal("search", *SEARCH, f"output={tmp_path / 'file' / 'below'}")
    assert f"cannot write {tmp_path / 'file'}" in message
    assert "output=FOLDER" in message
    assert (tmp_path / "file").read_text() == "kept"


def test_output_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"cannot write .*: Permission denied\. .*output=FOLDER"):
        Run.create("search", composed("search", *SEARCH, f"output={tmp_path}"))


@pytest.mark.parametrize("name", ["config.yaml", "step=", "model.safetensors", "metrics.json", "report.html"])
def test_a_disk_that_is_full_when_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(target).name.startswith(name):
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    message = refusal("search", *SEARCH, *SHORT, f"output={tmp_path}")
    (run,) = (tmp_path / "search").iterdir() if name != "config.yaml" else (None,)
    place = f"cannot write {tmp_path / 'search'}" if run is None else f"cannot write to {run}"
    assert message.startswith(f"error: {place}: No space left on device.")
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    if name != "config.yaml":
        assert nas("search", f"resume={run}").status == 0


@pytest.mark.parametrize(
    ("place", "writes"), [("RecordWriter.write", 0), ("RecordWriter.write", 9), ("RecordWriter.flush", 2)]
)
def test_a_disk_that_is_full_when_curves_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, writes: int
) -> None:
    place = f"tensorboard.summary.writer.record_writer.{place}"
    module, owner, name = place.rsplit(".", 2)
    write = getattr(getattr(import_module(module), owner), name)
    calls = iter(range(10**6))

    def refuse(*given: object) -> None:
        if next(calls) >= writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*given)

    monkeypatch.setattr(place, refuse)
    message = refusal("search", *SEARCH, *SHORT, f"output={tmp_path}")
    (run,) = (tmp_path / "search").iterdir()
    assert message.startswith(f"error: cannot write to {run}: No space left on device.")


@pytest.mark.parametrize("act", [shutil.rmtree, lambda run: run.rename(run.parent / "moved")], ids=["deleted", "moved"])
@pytest.mark.parametrize("step", [0, 5])
def test_a_run_folder_that_is_gone_during_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], object], step: int
) -> None:
    training_step: Callable[..., Tensor] = TrainingModule.training_step
    folders: list[Path] = []

    def removing(self: TrainingModule, *given: Any) -> Tensor:
        if self.global_step == step:
            folders[:] = (tmp_path / "search").iterdir()
            act(folders[0])
        return training_step(self, *given)

    monkeypatch.setattr(TrainingModule, "training_step", removing)
    message = refusal("search", *SEARCH, f"output={tmp_path}")
    assert message.startswith(f"error: {folders[0]} was deleted or moved while its run went on")
    assert not folders[0].exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a run's beginning."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_disk_that_is_full_in_truth_and_then_is_not(tiny_disk: Path, search: Any) -> None:
    message = refusal("search", *SEARCH, f"output={tiny_disk}")
    (run,) = (tiny_disk / "search").iterdir()
    assert message.startswith(f"error: cannot write to {run}: No space left on device.")
    assert yaml.safe_load((run / "config.yaml").read_text())["command"] == "search"
    subprocess.run(["mount", "-o", "remount,size=10m", tiny_disk], check=True)
    assert nas("search", f"resume={run}").status == 0
    assert contents(run)["model.safetensors"] == contents(search.run)["model.safetensors"]


OPTIONS = ["+space=token_hybrid", "data.path=my corpus"]


SHOWN = "+space=token_hybrid 'data.path=my corpus'"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed command, which is no module."""
    path = tmp_path / "my bin" / "nas-search"
    path.parent.mkdir()
    path.touch(mode=0o755)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", [str(path), *OPTIONS])
    return path


def test_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec("nas.search", None))
    monkeypatch.setattr(sys, "argv", ["/somewhere/nas/search.py", *OPTIONS])
    assert command_line() == f"python -m nas.search {SHOWN}"
    monkeypatch.setattr(sys, "argv", ["/somewhere/nas/search.py"])
    assert command_line() == "python -m nas.search"


def test_a_command_that_the_shell_finds(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(script.parent))
    assert command_line() == f"nas-search {SHOWN}"


def test_a_command_of_an_environment_that_is_not_active(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_line() == f"'{script}' {SHOWN}"
    monkeypatch.chdir(script.parent.parent)
    monkeypatch.setattr(sys, "argv", ["my bin/nas-search"])
    assert command_line() == "'my bin/nas-search'"


def test_a_script_of_ones_own(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["my search.py", *OPTIONS])
    assert command_line() == f"python 'my search.py' {SHOWN}"


def test_a_stored_file_is_read_checked_and_explained(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def read(given: Any) -> int:
        return int(given["code"]) + 1

    assert run.stored("own.json", read, "to begin again") is None
    run.write_json("own.json", {"code": 2})
    assert run.stored("own.json", read, "to begin again") == 3
    run.write_json("own.json", {"other": 2})
    with pytest.raises(UserError, match=r"own\.json is damaged; delete it to begin again\."):
        run.stored("own.json", read, "to begin again")
    (tmp_path / "own.json").write_text('{"code": 5}')
    with pytest.raises(UserError, match="its checksum is not the one"):
        run.stored("own.json", read, "to begin again")
