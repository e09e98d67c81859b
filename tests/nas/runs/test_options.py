"""Options of the machine and of the run folder: each one exists, and each user sets apart what it should."""

from dataclasses import asdict

import pytest

from nas.config import flat
from nas.runs import options
from nas.runs.folder import NOT_COMPARED
from nas.sweeps.options import MAY_DIFFER, NOT_VARIED
from tests.nas.commands import composed


@pytest.fixture(scope="module")
def every() -> set[str]:
    """Every option of the commands that make runs."""
    configs = [composed("compare", "data=tokens"), composed("sweep", "+space=joint", "data=text")]
    return {name for config in configs for name in flat(asdict(config))}


@pytest.mark.parametrize("group", ["FOLDER", "PLACES", "PROCESSES", "DEVICE", "MACHINE", "AMOUNT", "CODE"])
def test_every_listed_option_exists(group: str, every: set[str]) -> None:
    assert set(getattr(options, group)) <= every


def test_a_resumed_run_may_go_on_elsewhere_and_further_but_not_in_another_precision() -> None:
    assert set(options.FOLDER) <= NOT_COMPARED
    assert {"trainer.devices", "trainer.strategy", "sweep.trials", "sweep.workers", "seeds"} <= NOT_COMPARED
    assert not NOT_COMPARED & {*options.DEVICE, *options.PLACES, "trainer.steps", "seed"}


def test_machines_of_one_study_may_differ_in_device_place_plugins_and_loggers_alone() -> None:
    places = {"data.path", "data.tokenizer", "model.path"}
    assert {*options.DEVICE, "trainer.devices", *places, "plugins", *options.LOGGING} == MAY_DIFFER


def test_neither_the_folder_nor_a_place_is_varied() -> None:
    assert {*options.FOLDER, *options.PLACES, *options.CODE, "sweep", "seed"} <= set(NOT_VARIED)
