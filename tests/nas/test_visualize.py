"""`python -m nas.visualize`: the page of a run that was made before, and what it cannot show."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from nas.runs.snapshots import SNAPSHOTS
from tests.nas.commands import BATCHES, MODEL, SEARCH, TRAINER, Ended, nas, refusal
from tests.nas.report.examples import Parsed

TEXT = ("+space=token_hybrid", *MODEL, "data=text", "data.length=64", *BATCHES, *TRAINER)


@pytest.fixture(scope="module")
def of_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a search on bytes; tests do not write to it."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "lines").write_bytes(b"".join(b"line %04d\n" % line for line in range(3000)))
    ended = nas("search", *TEXT, f"data.path={folder}/lines", f"output={folder}")
    assert ended.status == 0, ended.err
    return ended.run


def page(run: Path, *options: str) -> str:
    """The page of a run."""
    output = run.parent / "page.html"
    ended = nas("visualize", f"run={run}", *options, f"output={output}")
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f"Open {output}, or watch with: tensorboard --logdir")
    return output.read_text()


def data(text: str) -> list[dict[str, Any]]:
    """What the scripts of a page are told of each routing."""
    return [
        json.loads(script)
        for script in Parsed(text).scripts
        if script.startswith('{"') and not script.startswith('{"chart-')
    ]


def tokens(text: str) -> str:
    return "".join(token for chunk in Parsed(text).chunks for token in chunk)


def test_help_tells_what_there_is() -> None:
    ended = nas("visualize", "--help")
    assert ended.status == 0
    for text in (
        "python -m nas.visualize run=outputs/search/RUN",
        "python -m nas.visualize runs=outputs",
        "\nrun=null ",
        "\nruns=null ",
        "\ncompare=null ",
        "\ntokens=4096 ",
    ):
        assert text in ended.out
    assert "resume" not in ended.out
    assert "$" not in ended.out


def test_it_writes_the_page_that_the_run_wrote(finished: Path) -> None:
    first = (finished / "report.html").read_text()
    ended = nas("visualize", f"run={finished}")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines() == [
        f"Open {finished}/report.html, or watch with: tensorboard --logdir {finished}",
        f"Figures for papers, PNG and SVG: {finished}/figures",
    ]
    assert {"loss.svg", "routing.png", "layers.png"} <= {path.name for path in (finished / "figures").iterdir()}
    again = (finished / "report.html").read_text()
    made_by = re.compile(r"<h2>Command</h2>.*", re.DOTALL)
    shown = [made_by.sub("", text) for text in (first, again)]
    assert shown[0] == shown[1]
    assert data(first)[0]["snapshots"]["steps"] == [3, 6]
    assert data(first) == data(again)


def test_it_shows_a_text_and_a_prompt(of_text: Path, tmp_path: Path) -> None:
    given = tmp_path / "some.txt"
    given.write_bytes(b"<b>\"'&</b> \xf0\x9f\x99\x82\xff</script>\n")
    text = page(of_text, f"text={given}")
    assert tokens(text) == r"""<b>"'&</b>·🙂\xff</script>↵"""
    assert data(text)[0]["snapshots"] is None
    assert data(text)[0]["planted"] is None
    assert tokens(page(of_text, 'prompt="a, {b}: [c]"')) == "a,·{b}:·[c]"
    short = page(of_text, "prompt=abc", "tokens=2")
    assert tokens(short) == "ab"
    assert "The text is longer: this is the routing of its first 2 bytes." in short


def test_what_shows_something_else_leaves_the_report_of_the_run_alone(of_text: Path, tmp_path: Path) -> None:
    run, given = tmp_path / "run", tmp_path / "notes.txt"
    shutil.copytree(of_text, run)
    given.write_text("hello")
    report = (run / "report.html").read_bytes()
    for options, name in (
        ((f"text={given}",), "report-notes"),
        (("prompt=hello", f"compare={of_text}"), f"report-prompt-beside-{of_text.name}"),
    ):
        ended = nas("visualize", f"run={run}", *options)
        assert ended.status == 0, ended.err
        assert tokens((run / f"{name}.html").read_text()).startswith("hello")
        assert f"PNG and SVG: {run}/{name}_figures" in ended.out
    assert (run / "report.html").read_bytes() == report
    assert not (run / "figures").exists()


def test_it_shows_two_runs_on_one_sequence(of_text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(of_text, other)
    text = page(of_text, f"compare={other}", "prompt=hello world")
    assert tokens(text) == "hello·world" * 2
    own = page(of_text, f"compare={other}")
    first, second = data(own)
    assert first == second
    assert first["snapshots"] is not None
    assert other.name in own


def test_a_model_without_routing_has_a_page_too(tmp_path: Path) -> None:
    ended = nas("train", "architecture=linear", *SEARCH[1:], f"output={tmp_path}")
    assert ended.status == 0, ended.err
    text = page(ended.run)
    assert "No routing to show" in text
    assert not data(text)


def test_an_unfinished_run_shows_what_it_has(finished: Path) -> None:
    for name in ("model.safetensors", "metrics.json", "architecture.json", "report.html"):
        (finished / name).unlink()
    text = page(finished)
    assert "This run is unfinished: it has no weights and no final figures." in text
    assert "Its log ends at step 6 of 6." in text
    assert "This is the routing at step 6 of training, the latest snapshot" in text
    (shown,) = data(text)
    assert (shown["snapshots"]["steps"], shown["end"]) == ([3], "step 6")
    (finished / SNAPSHOTS).unlink()
    shutil.rmtree(finished / "tensorboard")
    text = page(finished)
    assert "It has no routing snapshot yet." in text
    assert "This run logged no steps." in text


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}", '{"quality": "recall", "routings": {}}', '{"quality": 3}'])
def test_damaged_figures_are_told_of(editable: Path, damaged: str) -> None:
    routing = data((editable / "report.html").read_text())
    (editable / "metrics.json").write_text(damaged)
    text = page(editable)
    assert re.search(r"metrics.json is (missing or )?damaged, so no final figures are shown", text)
    assert data(text) == routing


@pytest.mark.parametrize("name", ["model.safetensors", "architecture.json", "config.yaml"])
def test_a_damaged_run_is_refused(finished: Path, name: str) -> None:
    (finished / name).write_text("nonsense")
    assert name in refusal("visualize", f"run={finished}", f"output={finished}/page.html")
    assert not (finished / "page.html").exists()


def test_data_that_is_gone_is_told_of(of_text: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(of_text, moved, ignore=shutil.ignore_patterns("checksums.json"))
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(re.sub(r"path: \S+", "path: nowhere", config))
    assert "was trained on data that is not available here: data.path=nowhere" in refusal("visualize", f"run={moved}")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "run is missing; give the folder of a run"),
        (("run=nowhere",), "run=nowhere: there is no such folder"),
        (("run=.",), "config.yaml is missing or damaged"),
        (("run={run}", "compare=nowhere"), "compare=nowhere: there is no such folder"),
        (("run={run}", "text=nowhere"), "text=nowhere cannot be read (No such file or directory)"),
        (("run={run}", "text=/"), "text=/ cannot be read (Is a directory)"),
        (("run={run}", "prompt=''"), "prompt='' is not allowed; give at least one character."),
        (("run={run}", "text=/dev/null"), "text=/dev/null is empty"),
        (("run={run}", "text=a", "prompt=b"), "text=a and prompt are both given; give only one of them."),
        (("run={run}", "tokens=0"), "tokens=0 is not allowed; give 1 or more."),
        (("run={run}", "output=."), "output=. is a folder; give a file"),
        (("run={run}", "output=nowhere/page.html"), "output=nowhere/page.html: there is no folder nowhere"),
        (("run={run}", "seed=3"), "seed is not an option"),
        (("run={recall}", "prompt=b"), "prompt is a text, but the tokens of recall are no text"),
        (("run={run}", "compare={recall}"), "give two runs on the same data"),
        (("run={run}", "compare={recall}", "prompt=b"), "give two runs on the same data"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    of_text: Path, search: Ended, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [option.format(run=of_text, recall=search.run) for option in options]
    assert told in refusal("visualize", *given)
    assert list(tmp_path.iterdir()) == []
