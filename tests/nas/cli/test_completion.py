"""What a shell gets when it queries the options that may come next."""

from pathlib import Path

import pytest

from tests.nas.commands import nas
from tests.nas.plugins.written import Plugins

SPACES = ["chunk_size", "joint", "layer_hybrid", "token_hybrid"]


def candidates(
    monkeypatch: pytest.MonkeyPatch, line: str, point: str | None = None, command: str = "search"
) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)) if point is None else point)
    ended = nas(command, "-sc", "query=bash")
    assert ended.status == 0
    assert ended.err == ""
    return ended.out.split()


@pytest.mark.parametrize(
    "start",
    [
        "python -m nas.search ",
        "nas-search ",
        "/opt/a-venv/bin/python3.12 -X dev -m nas.search ",
        ".venv/bin/nas-search ",
        "'/my files/python' -m nas.search ",
    ],
)
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("+", ["+hydra", "+space="]),
        ("+space=", [f"+space={space}" for space in SPACES]),
        ("+space=token_hybrid model=", ["model=30m", "model=340m", "model=760m", "model=pretrained", "model=tiny"]),
    ],
)
def test_every_way_to_start_a_command(
    monkeypatch: pytest.MonkeyPatch, start: str, typed: str, expected: list[str]
) -> None:
    assert candidates(monkeypatch, start + typed) == expected


@pytest.mark.parametrize(
    ("command", "typed", "expected"),
    [
        ("search", "space=to", ["+space=token_hybrid"]),
        ("search", "+space=token_hybrid sp", ["space."]),
        ("search", "exp", ["experiment="]),
        ("search", "trainer.log", ["trainer.log_every="]),
        ("search", "trainer.log_every", ["trainer.log_every="]),
        ("search", "data=text data.pat", ["data.path="]),
        ("search", "data=recall data.pat", []),
        (
            "search",
            "searcher=",
            [f"searcher={name}" for name in ("evolution", "gradient", "halving", "optuna", "pairs", "random", "rule")],
        ),
        ("search", "-m seed=0,1 relaxation=d", ["relaxation=darts", "relaxation=drnas"]),
        ("search", "sw", []),
        ("sweep", "sw", ["sweep.", "sweep="]),
        ("sweep", "sweep=", ["sweep=default"]),
        ("train", "arch", ["architecture="]),
        ("compare", "+", ["+hydra"]),
        ("visualize", "pro", ["prompt="]),
    ],
)
def test_options_that_a_command_takes(
    monkeypatch: pytest.MonkeyPatch, command: str, typed: str, expected: list[str]
) -> None:
    assert candidates(monkeypatch, f"nas-{command} {typed}", command=command) == expected


def test_groups_and_options_behind_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    found = candidates(monkeypatch, "nas-search ")
    assert {"+space=", "model=", "model.", "trainer=", "data=", "experiment=", "seed=", "resume="} <= {*found}
    assert not {"space=", "sweep="} & {*found}


@pytest.mark.parametrize("typed", ["name=[ mod", "trainer.steps.x", "--cfg", "--nothing mod", "+model=", "nothing"])
def test_a_line_that_has_no_continuation(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    assert candidates(monkeypatch, f"nas-search {typed}") == []


def test_files_are_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "fifth.json").touch()
    monkeypatch.chdir(tmp_path)
    assert candidates(monkeypatch, "nas-search resume=ru") == ["resume=runs/"]
    assert candidates(monkeypatch, "nas-search resume=") == ["resume=runs/"]
    both = ["runs=[a,runs/fifth.json", "runs=[a,runs/first/"]
    assert candidates(monkeypatch, "nas-compare runs=[a,runs/fi", command="compare") == both


def test_the_cursor_may_stand_inside_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "nas-search model=t data=text"
    assert candidates(monkeypatch, line, point=str(line.index(" data"))) == ["model=tiny"]


@pytest.mark.parametrize("given", [("install=ksh",), ("instal=bash",), ("bash",), (), ("install=bash", "query=bash")])
def test_an_unknown_request(given: tuple[str, ...]) -> None:
    ended = nas("search", "-sc", *given)
    assert ended.status == 1
    told = "error: " + " ".join(("-sc", *given))
    assert ended.err == (
        f"{told} is unknown; give install, uninstall or query, and one of: bash, zsh, fish. "
        "For example: -sc install=bash\n"
    )


def test_choices_and_groups_of_an_installed_plugin(monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> None:
    plugins.write("theirs/__init__.py", "")
    plugins.write("theirs/conf/space/their_space.yaml", "")
    plugins.write("theirs/conf/their_group/their_choice.yaml", "")
    plugins.install("their-package", "1.0", spaces="their_space = theirs")
    assert candidates(monkeypatch, "nas-search +space=th") == ["+space=their_space"]
    assert candidates(monkeypatch, "nas-search their_group=") == []  # no command has a default for it
