"""How a run was made: what its folder recorded, and what of it pages show."""

import shutil
from pathlib import Path

import pytest
import yaml

from nas.data.corpus import Source
from nas.report.page import render
from nas.results.report_data import report_of
from nas.runs.folder import Run
from nas.runs.provenance import provenance
from nas.runs.source import CORPUS
from tests.nas.commands import Ended


def changed(run: Path, **values: object) -> None:
    """Change what config.yaml says beside the config."""
    described = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")) | values
    (run / "config.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")


def test_a_run_tells_how_it_was_made(search: Ended) -> None:
    rows = dict(provenance(search.run))
    assert "+space=token_hybrid" in rows["command"]
    options = rows["options that differ from the defaults"].split()
    assert options[:3] == ["space=token_hybrid", "data=recall", "searcher=gradient"]
    assert {"model.width=16", "trainer.steps=6", "budget.dense_until=0.0"} <= set(options)
    assert "model.layers=2" not in options, "a default"
    assert rows["data"] == "recall, without files"
    assert rows["seed"] == "0"
    assert rows["hardware"].startswith("1 x CPU (")
    assert "torch 2." in rows["versions"]


@pytest.mark.parametrize(("commit", "shown"), [("ab12", "ab12, clean"), ("ab12+", "ab12, with uncommitted changes")])
def test_a_commit_is_clean_or_not(editable: Path, commit: str, shown: str) -> None:
    changed(editable, commit=commit)
    assert dict(provenance(editable))["commit"] == shown


def test_a_text_is_named_with_its_size(finished: Path) -> None:
    own = Source("my_corpus", {"one.txt": (2_500_000, "f"), "two.txt": (1_500_000, "f")})
    Run(finished).write_json(CORPUS, {"path": own.path, "files": own.files})
    assert dict(provenance(finished))["data"] == f"recall: my_corpus (2 files, 4 MB), hash {own.digest}"


def test_a_run_of_an_earlier_version_tells_what_it_recorded(editable: Path) -> None:
    changed(editable, command_line=None, hardware=None, commit=None, versions=None)
    labels = [label for label, _ in provenance(editable)]
    assert labels == ["options that differ from the defaults", "data", "seed", "started"]
    shutil.rmtree(editable)
    assert provenance(editable) == []


def test_the_page_folds_it_away(search: Ended) -> None:
    page = render(report_of(Run(search.run), None, "recall", None, []))
    section = page[page.index("<summary>How this was made</summary>") :]
    assert "trainer.steps=6" in section[: section.index("</details>")]
