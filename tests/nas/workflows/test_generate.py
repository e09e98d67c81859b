"""The workflow of a generation: Ctrl-C, and the share that routers keep."""

import io
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
