"""Suites on a trained run: their files, resuming, refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from nas.data.renaming import Piece
from nas.errors import UserError
from nas.suites import figures, identifiers
from nas.suites.plan import SUITES
from nas.suites.subject import Advance, ModelSubject, Predicted
from tests.nas.commands import Ended, contents, nas, refusal

FEW = ("suites.samples=2", "suites.lengths=[64,512]", "suites.ruler.tasks=[single_1,single_2]", "device=cpu")
LIBRARY = "suites.identifiers.path={path}"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "code.py"
    path.write_text("def function(argument):\n    return argument * argument\n" * 100)
    return path


@pytest.fixture(scope="module")
def evaluated(of_bytes: Path, code: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The results of all suites, and what the command printed."""
    output = tmp_path_factory.mktemp("evaluated")
    ended = nas(
        "evaluate",
        f"run={of_bytes}",
        f"suite=[{','.join(SUITES)}]",
        *FEW,
        f"output={output}",
        LIBRARY.format(path=code),
    )
    assert ended.status == 0, ended.err
    return output, ended


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which take longer than the suites."""
    monkeypatch.setattr(figures, "draw", lambda *given: [])


def test_every_suite_leaves_tables_figures_and_a_file_for_each_length(evaluated: tuple[Path, Ended]) -> None:
    output, ended = evaluated
    files = {path.name for path in output.iterdir()}
    assert files == {"suites", "figures", "results.json", "results.md"}
    assert {path.name for path in (output / "figures").iterdir()} == {
        f"{suite}.{end}" for suite in SUITES for end in ("png", "svg")
    }
    kept = {path.stem for path in (output / "suites").iterdir()}
    assert kept == {"ruler-single_1-512", "ruler-single_2-512"} | {
        f"{suite}-{length}" for suite in SUITES if suite != "ruler" for length in (64, 512)
    }
    found = json.loads((output / "results.json").read_text())
    assert [*found["suites"]] == [*SUITES]
    assert len(found["left_out"]) == 1
    assert "bits per byte" in ended.out
    assert "Left out: ruler at 64 tokens (single_1, single_2): the shortest prompt and its output" in ended.out


@pytest.mark.usefixtures("without_figures")
def test_the_same_command_computes_nothing_again(
    evaluated: tuple[Path, Ended], of_bytes: Path, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = shutil.copytree(evaluated[0], tmp_path / "output")
    before = contents(output / "suites")
    calls: list[int] = []
    predict = ModelSubject.predict

    def counted(subject: ModelSubject, sequences: Tensor, advance: Advance) -> Predicted:
        calls.append(sequences.shape[1] - 1)
        return predict(subject, sequences, advance)

    monkeypatch.setattr(ModelSubject, "predict", counted)
    options = (f"run={of_bytes}", "suite=[text]", *FEW, f"output={output}", LIBRARY.format(path=code))
    assert nas("evaluate", *options).status == 0
    assert calls == []
    (output / "suites" / "text-64.json").unlink()
    (output / "suites" / "text-512.json").write_text("{cut off")
    assert nas("evaluate", *options).status == 0
    assert calls == [64, 512]
    assert contents(output / "suites") == before
    again = ("suites.overwrite=true", "suites.lengths=[64]")
    assert nas("evaluate", *options, *again).status == 0
    assert calls[2:] == [64]
    assert contents(output / "suites") == before


@pytest.mark.usefixtures("without_figures")
def test_a_share_moves_the_thresholds(of_bytes: Path, tmp_path: Path) -> None:
    options = ("suite=[text]", "suites.samples=2", "suites.lengths=[64]", "device=cpu")
    bits = []
    for share in ("0", "1"):
        output = tmp_path / share
        assert nas("evaluate", f"run={of_bytes}", *options, f"suites.share={share}", f"output={output}").status == 0
        found = json.loads((output / "results.json").read_text())
        assert found["share"] == float(share)
        bits.append(found["suites"]["text"][0]["scores"]["bits per byte"]["value"])
    assert bits[0] != bits[1]


@pytest.mark.usefixtures("without_figures")
def test_what_fails_at_one_length_is_left_out_there(
    of_bytes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = identifiers.renamed

    def limited(text: bytes, *others: Any) -> Piece:
        if len(text) > 100:
            raise UserError("there are too many identifiers.")
        return renamed(text, *others)

    monkeypatch.setattr(identifiers, "renamed", limited)
    options = ("suite=[identifiers]", "suites.samples=1", "device=cpu", f"output={tmp_path}")
    ended = nas("evaluate", f"run={of_bytes}", *options, "suites.lengths=[64,512]")
    assert ended.status == 0, ended.err
    assert "Left out: identifiers at 512 tokens: there are too many identifiers." in ended.out
    assert [path.stem for path in (tmp_path / "suites").iterdir()] == ["identifiers-64"]


def test_what_cannot_work_is_refused(of_bytes: Path, search: Ended, tmp_path: Path) -> None:
    output = f"output={tmp_path}"
    run = (f"run={of_bytes}", output)
    assert "suite=words is unknown; choose one or more of: text, ruler, recall, identifiers" in refusal(
        "evaluate", *run, "suite=[words]"
    )
    message = refusal("evaluate", f"run={search.run}", output, "suite=[text]")
    assert "was trained on recall, whose tokens are no text" in message
    assert "give a run on data=text, tokens, identifiers or needle" in message
    message = refusal("evaluate", *run, "suite=[text]", "suites.lengths=[100000]")
    assert "cannot fill a sequence of 100,000 tokens: all together do not have 100,001 tokens" in message
    assert "suites.ruler.tasks=qa is unknown; choose one of: single_1" in refusal(
        "evaluate", *run, "suite=[ruler]", "suites.ruler.tasks=[qa]"
    )
    assert "suites.documents=split is unknown; choose one of: joined, whole" in refusal(
        "evaluate", *run, "suite=[text]", "suites.documents=split"
    )
    message = refusal("evaluate", *run, "suite=[identifiers]", f"suites.identifiers.path={__file__}x")
    assert "suites.identifiers.path=" in message
    assert not any(tmp_path.iterdir())
