"""The plan: which results a run has at which lengths, and what decides them."""

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nas.config import RunConfig
from nas.errors import UserError
from nas.options.suites import SuitesConfig
from nas.results.opened import OpenedRun, open_run
from nas.suites.plan import Plan
from nas.suites.ruler.suite import ORDER
from nas.suites.subject import Advance, Predicted
from tests.nas.commands import composed
from tests.nas.suites.fakes import Predicting


@pytest.fixture(scope="module")
def opened(of_bytes: Path) -> OpenedRun:
    return open_run("run", str(of_bytes), "cpu")


def options(*given: str) -> SuitesConfig:
    config: SuitesConfig = composed("evaluate", "run=x", *given).suites
    return config


def test_lengths_are_those_of_the_run_by_default(opened: OpenedRun) -> None:
    assert isinstance(opened.config, RunConfig)
    assert Plan(opened, options()).lengths == [64, 128]
    plan = Plan(opened, options("suites.lengths=[1024,32]"))
    assert [unit.name for unit in plan.units("text")] == ["text-32", "text-1024"]
    assert [unit.name for unit in plan.units("ruler")] == [
        f"ruler-{task}-{length}" for length in (32, 1024) for task in ORDER
    ]


def test_settings_have_all_that_decides_a_result(opened: OpenedRun, tmp_path: Path) -> None:
    def settings(suite: str, *given: str) -> list[dict[str, object]]:
        return [unit.settings for unit in Plan(opened, options("suites.lengths=[32]", *given)).units(suite)]

    assert settings("text") == settings("text", "suites.recall.ngram=3", "suites.overwrite=true")
    for given in (
        "suites.seed=1",
        "suites.samples=5",
        "suites.share=0.5",
        "suites.documents=whole",
        f"suites.path={__file__}",
    ):
        assert settings("text") != settings("text", given)
    text = tmp_path / "text.py"
    text.write_text("def function(argument):\n    return argument\n\nimport this\n\ndef other():\n")
    path = (f"suites.path={text}", f"suites.identifiers.path={text}")
    before = [settings(suite, *path) for suite in ("text", "recall", "identifiers", "ruler")]
    assert before == [settings(suite, *path) for suite in ("text", "recall", "identifiers", "ruler")]
    text.write_text(text.read_text().replace("this", "that"))
    os.utime(text, (0, 0))
    after = [settings(suite, *path) for suite in ("text", "recall", "identifiers", "ruler")]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert before[3][0] == after[3][0]  # single_1 has no text
    assert settings("recall") != settings("recall", "suites.recall.ngram=3")
    assert settings("identifiers") != settings("identifiers", "suites.documents=whole")
    assert settings("ruler")[0] == settings("ruler", f"suites.path={__file__}")[0]  # single_1 has no text
    assert settings("ruler")[1] != settings("ruler", f"suites.path={__file__}")[1]


def test_documents_are_whole_for_a_run_that_saw_one_at_a_time(opened: OpenedRun) -> None:
    packed = opened._replace(config=SimpleNamespace(data=SimpleNamespace(documents="packed")))  # type: ignore[arg-type]

    def kind(run: OpenedRun, *given: str) -> object:
        return next(iter(Plan(run, options("suites.lengths=[32]", *given)).units("text"))).settings["documents"]

    assert kind(opened) == kind(packed, "suites.documents=joined") == "joined"
    assert kind(packed) == kind(opened, "suites.documents=whole") == "whole"


def test_code_is_that_of_the_option_of_the_run_or_of_python(opened: OpenedRun) -> None:
    def source(*given: str) -> object:
        return next(iter(Plan(opened, options("suites.lengths=[32]", *given)).units("identifiers"))).settings["source"]

    assert source() == "Python's standard library"
    assert source(f"suites.path={__file__}") == f"suites.path={__file__}"
    assert source(f"suites.identifiers.path={__file__}") == f"suites.identifiers.path={__file__}"
    with pytest.raises(UserError, match=r"suites.identifiers.path=\S+ has no Python or C source"):
        source(f"suites.identifiers.path={Path(__file__).parents[3] / 'LICENSE'}")


def test_a_run_without_text_needs_another(opened: OpenedRun) -> None:
    noise = opened._replace(task=type("Noise", (), {"name": "needle", "token": "byte", "vocab_size": 256})())
    with pytest.raises(UserError, match=r"was trained on needle without running text; give a file or folder"):
        list(Plan(noise, options()).units("text"))
    only = replace(options(), ruler=replace(options().ruler, tasks=["single_1"]))
    assert len(list(Plan(noise, only).units("ruler"))) == 2
    unknown = opened._replace(task=type("Tokens", (), {"name": "tokens", "vocabulary": None})())
    with pytest.raises(UserError, match=r"was trained on tokens of an unknown tokenizer"):
        Plan(unknown, options())


class Seeing(Predicting):
    """Has seen sequences and prompts; a prediction is right if a third of the right token has no remainder."""

    def __init__(self) -> None:
        super().__init__(lambda row, place: row[place] % 3 == 0)
        self.seen: list[torch.Tensor] = []

    def predict(self, sequences: torch.Tensor, advance: Advance) -> Predicted:
        self.seen += sequences
        return super().predict(sequences, advance)

    def answer(self, prompts: Sequence[torch.Tensor], count: int, advance: Advance) -> torch.Tensor:
        self.seen += prompts
        return torch.full((len(prompts), count), 97)


@pytest.mark.parametrize("suite", ["text", "recall", "identifiers", "ruler"])
def test_sequences_and_prompts_begin_with_the_begin_token(opened: OpenedRun, suite: str) -> None:
    begin, results = 7, []
    for begins in (False, True):
        length = 1000 + begins
        fewer = ("suites.samples=8", "suites.ruler.tasks=[multikey_2]", "suites.recall.counted=1000")
        plan = Plan(opened, options(f"suites.lengths=[{length}]", *fewer))
        plan.vocabulary = copy(plan.vocabulary)
        plan.vocabulary.begin = begin if begins else None
        (unit,) = plan.units(suite)
        assert ("begin" in unit.settings) is begins
        subject = Seeing()
        results.append((subject, unit.compute(subject, lambda count: None)))
    (plain, one), (begun, other) = results
    assert len(plain.seen) == len(begun.seen) > 0
    for text, whole in zip(plain.seen, begun.seen, strict=True):
        assert whole.tolist() == [begin, *text.tolist()]
    if suite in ("identifiers", "ruler"):  # in the others the first token of the text is predicted too
        assert {name: score.value for name, score in one.scores.items()} == {
            name: score.value for name, score in other.scores.items()
        }
