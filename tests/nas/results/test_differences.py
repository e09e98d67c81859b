"""What differs between two runs: options, data and versions."""

import json
from pathlib import Path

import yaml

from nas.results.differences import differences
from tests.nas.index.written import run


def test_options_and_data_are_named_with_both_values(tmp_path: Path) -> None:
    first = run(tmp_path / "a", data={"name": "text", "length": 64}, seed=0, name="a")
    second = run(tmp_path / "b", command="train", data={"name": "text", "length": 128}, seed=0, name="b", extra=[1])
    for folder, digest in ((first, "ab"), (second, "cd")):
        corpus = {"path": "/data", "files": {"book.txt": [1000, digest * 32]}}
        (folder / "corpus.json").write_text(json.dumps(corpus))
    described = yaml.safe_load((second / "config.yaml").read_text()) | {"versions": {"torch": "2.13"}}
    (second / "config.yaml").write_text(yaml.safe_dump(described))
    found = {name: (ours, theirs) for name, ours, theirs in differences(first, second)}
    ours, theirs = found.pop("corpus")
    assert ours != theirs
    assert found == {
        "align.distillation": ("0.0", "\N{EN DASH}"),
        "align.learning_rate": ("0.03", "\N{EN DASH}"),
        "align.steps": ("0", "\N{EN DASH}"),
        "command": ("search", "train"),
        "data.length": ("64", "128"),
        "dense_start": ("\N{EN DASH}", "False"),
        "heal.hidden": ("0.3", "\N{EN DASH}"),
        "heal.learning_rate": ("0.0001", "\N{EN DASH}"),
        "heal.length_factor": ("1", "\N{EN DASH}"),
        "heal.steps": ("0", "\N{EN DASH}"),
        "heal.temperature": ("1.0", "\N{EN DASH}"),
        "space.feature_grad": ("full", "\N{EN DASH}"),
        "extra": ("\N{EN DASH}", "[1]"),
        "versions.torch": ("\N{EN DASH}", "2.13"),
    }


def test_runs_with_the_same_options_do_not_differ(tmp_path: Path) -> None:
    first, second = (run(tmp_path / name, name=name, output=name, resume=name) for name in "ab")
    assert differences(first, second) == []
