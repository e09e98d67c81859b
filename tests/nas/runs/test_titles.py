"""Titles of runs: of every command, of damaged folders, and what stands below them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.runs.titles import Heading, heading, title

RANGES = {"budget": {"rate": {"low": 0.1, "high": 1.0}, "target": None}}
SEVERAL = {"model": {"width": {"low": 1, "high": 2}, "chunk_size": {"choices": [8, 16]}}, "seed": {"choices": [1, 2]}}


@pytest.mark.parametrize(
    ("command", "config", "expected"),
    [
        ("search", {"space": {"name": "token_hybrid"}}, "token_hybrid on recall"),
        ("train", {"architecture": "linear-softmax"}, "Training of linear-softmax on recall"),
        (
            "train",
            {"architecture": "outputs/search/2026-11-28_12-00-00_mine/architecture.json"},
            "Training of mine on recall",
        ),
        ("train", {"architecture": "contenders/softmax.json"}, "Training of softmax on recall"),
        ("sweep", {"sweep": {"ranges": RANGES}}, "Sweep of budget.rate on recall"),
        ("sweep", {"sweep": {"ranges": RANGES | SEVERAL}}, "Sweep of 4 options on recall"),
        (
            "compare",
            {"runs": ["a"], "baselines": ["b", "c"], "seeds": 1},
            "Comparison on recall: 3 models, 1 seed",
        ),
        ("compare", {"runs": 3}, ""),
        ("search", {"space": None}, ""),
        ("other", {}, ""),
    ],
)
def test_a_title_says_what_ran_on_what(command: str, config: dict[str, Any], expected: str) -> None:
    assert title({"command": command, "config": {"data": {"name": "recall"}} | config}) == expected


def test_the_folder_and_the_start_stand_below_the_title(tmp_path: Path) -> None:
    folder = tmp_path / "2026-11-28_12-00-00_mine"
    folder.mkdir()
    assert heading(folder) == Heading(folder.name, folder.name)
    assert heading(folder).origin == f"Folder {folder.name}"
    described = {"command": "search", "config": {"data": {"name": "recall"}, "space": {"name": "joint"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(described | {"created": "2026-11-28_12-00-00"}))
    assert heading(folder).title == "joint on recall"
    assert heading(folder).origin == f"Folder {folder.name}, started 2026-11-28 12:00:00"
