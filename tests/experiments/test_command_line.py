"""What studies share: options, folders of runs and tables, and the config of a smaller form."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

import experiments
from experiments.command_line import add_folders, folders_of, in_mode, study_parser

STUDY = Path("experiments/some_study")
STUDIES = Path(experiments.__file__).parent


@pytest.mark.parametrize(
    ("given", "output", "results"),
    [
        ("", "outputs/some_study", "experiments/some_study/results"),
        ("--smoke", "outputs/some_study_smoke", "outputs/some_study_smoke/results"),
        ("--output runs", "runs", "experiments/some_study/results"),
        ("--smoke --output runs", "runs", "runs/results"),
        ("--smoke --results tables", "outputs/some_study_smoke", "tables"),
    ],
)
def test_a_smaller_form_has_folders_of_its_own(given: str, output: str, results: str) -> None:
    parser = study_parser(STUDY.name, "A study.", {"smoke": "tiny models"})
    assert folders_of(parser.parse_args(given.split()), STUDY) == (Path(output), Path(results))


def test_another_command_on_the_runs_of_a_study_has_the_same_folders() -> None:
    parser = argparse.ArgumentParser()
    add_folders(parser, STUDY.name)
    of_study = study_parser(STUDY.name, "A study.", {})
    for given in ([], ["--output", "runs"], ["--results", "tables"]):
        assert folders_of(parser.parse_args(given), STUDY) == folders_of(of_study.parse_args(given), STUDY)


def test_a_smaller_form_changes_the_sections_of_a_config_key_by_key() -> None:
    config = {"sizes": {"small": {"seeds": 2, "options": [1]}, "large": {"seeds": 3}}, "seeds": [1, 2], "rate": None}
    assert in_mode(config, None) == config
    changed = in_mode(config, {"sizes": {"small": {"seeds": 1}, "large": None}, "seeds": [1], "minutes": 1})
    assert changed == {"sizes": {"small": {"seeds": 1}}, "seeds": [1], "rate": None, "minutes": 1}
    assert in_mode(config, {"sizes": None, "rate": 0.5}) == {"seeds": [1, 2], "rate": 0.5}
    assert list(config) == ["sizes", "seeds", "rate"], "the config itself is as it was"


@pytest.mark.parametrize(
    ("study", "mode"),
    [("pretrained", "smoke"), ("small_lm", "smoke"), ("token_vs_hand", "pilot"), ("token_vs_hand", "smoke")],
)
def test_the_smaller_forms_of_studies_change_what_is_there(study: str, mode: str) -> None:
    config: dict[str, Any] = yaml.safe_load((STUDIES / study / "config.yaml").read_text(encoding="utf-8"))
    own = config[mode]
    further = {"options"} if study == "token_vs_hand" else set()  # come behind those of a task
    assert own.keys() - further <= config.keys()
    for name, value in own.items():
        if isinstance(config.get(name), dict):
            assert value.keys() <= config[name].keys(), "a typing error adds a key"
