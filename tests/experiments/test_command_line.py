"""The options that studies share: folders of runs and tables."""

import argparse
from pathlib import Path

import pytest

from experiments.command_line import add_folders, folders_of, study_parser

STUDY = Path("experiments/some_study")


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
