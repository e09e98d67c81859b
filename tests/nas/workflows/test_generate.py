"""The workflow of a generation: Ctrl-C, the share that routers keep, and the encoding of the output."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from nas.config import GenerateConfig
from nas.models.policies import drop_all
from nas.workflows import generate as workflow


def test_ctrl_c_ends_a_generation_with_what_it_has_printed(
    of_bytes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policies = []

    def interrupted(decoder: object, *others: object) -> None:
        policies.append(decoder._policy)  # type: ignore[attr-defined]
        show = others[-1]
        show(0, "begun")  # type: ignore[operator]
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "continue_prompts", interrupted)
    config = GenerateConfig(run=str(of_bytes), prompt="a", share=0.0)
    assert workflow.generate(config, Console(file=io.StringIO())) == 130
    assert capsys.readouterr().out == "begun\n"
    assert policies == [drop_all]


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "é 😀"), ("ascii", r"\u00e9 \ud83d\ude00")])
def test_lines_are_json_in_every_encoding(
    of_bytes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    output = io.TextIOWrapper(written := io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr("sys.stdout", output)
    (tmp_path / "prompts").write_bytes("é 😀\n".encode() + b"\xff")
    config = GenerateConfig(run=str(of_bytes), prompts=str(tmp_path / "prompts"), max_tokens=1)
    assert workflow.generate(config, Console(file=io.StringIO())) == 0
    text = written.getvalue().decode(encoding)
    assert shown in text
    assert [json.loads(line)["prompt"] for line in text.splitlines()] == ["é 😀", "\udcff"]
