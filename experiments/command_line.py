"""The options that studies share, and the folders and the config that follow from them."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def study_parser(
    name: str, doc: str | None, modes: Mapping[str, str], trainings: str = "trainings", where: str = ""
) -> argparse.ArgumentParser:
    """Return the parser of a study; its own options follow.

    Args:
        name: package of the study inside `experiments`.
        doc: docstring of the module; its first line is the description.
        modes: smaller forms of the study, such as smoke, and their help texts.
        trainings: word for what the study makes, in the plural.
        where: where each of these runs, behind "at a time".
    """
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{name}", description=(doc or "").split("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    for option, text in modes.items():
        mode.add_argument(f"--{option}", dest="mode", action="store_const", const=option, help=text)
    parser.add_argument("--plan", action="store_true", help="print the plan and start nothing")
    parser.add_argument("--workers", type=int, default=1, help=f"{trainings} at a time{where} (default: 1)")
    parser.add_argument("--deadline", type=float, help="minutes after which nothing new starts (default: none)")
    add_folders(parser, name)
    parser.add_argument("overrides", nargs="*", help=f"options of all {trainings}, for example trainer.steps=600")
    return parser


def add_folders(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options of a study's folders, from which `folders_of` returns them.

    Args:
        parser: parser of the study, or of another command on its runs.
        name: package of the study inside `experiments`.
    """
    parser.add_argument("--output", type=Path, help=f"folder of the runs (default: outputs/{name})")
    parser.add_argument("--results", type=Path, help="folder of the tables (default: results/ beside this file)")
    parser.set_defaults(mode=None)


def folders_of(given: argparse.Namespace, study: Path) -> tuple[Path, Path]:
    """Return the folders of the runs and of the tables; those of a smaller form are apart from those of the study.

    Args:
        given: options of `study_parser`, or those of `add_folders`.
        study: folder of the study's files.
    """
    output = given.output or Path("outputs") / "_".join(filter(None, [study.name, given.mode]))
    return output, given.results or (output / "results" if given.mode else study / "results")


def in_mode(config: Mapping[str, Any], mode: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the config of a study, or of one of its tasks, with the changes of a smaller form, such as smoke.

    A section, which is a mapping, is changed key by key. Anything else, and each value in a section, is replaced; null
    removes it.

    Args:
        config: content of config.yaml, or a part of it.
        mode: the section of config.yaml with the changes; None for the study itself.

    >>> in_mode({"a": {"b": 1, "c": {"d": 2}}, "e": [1]}, {"a": {"b": None, "c": {}}, "e": [2], "f": 3})
    {'a': {'c': {}}, 'e': [2], 'f': 3}
    """
    sections = {
        name: _replaced(config[name], value)
        if isinstance(value, Mapping) and isinstance(config.get(name), Mapping)
        else value
        for name, value in (mode or {}).items()
    }
    return _replaced(config, sections)


def _replaced(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with others in their place; a value of None removes a key."""
    return {name: value for name, value in {**values, **others}.items() if value is not None or name not in others}
