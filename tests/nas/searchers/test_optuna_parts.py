"""Optuna's samplers and pruners by name, with options that may be samplers themselves."""

import optuna
import pytest

from nas.errors import UserError
from nas.searchers.optuna_parts import build, class_name, parameters


@pytest.mark.parametrize("given", ["tpe", "TPE", "TPESampler", "tpesampler"])
def test_a_class_is_named_in_any_case_with_or_without_its_suffix(given: str) -> None:
    assert class_name("sampler", given, optuna.samplers, "Sampler") == "TPESampler"


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"pruner=modal is unknown; choose one of: none, .*Median.*, Nop"):
        class_name("pruner", "modal", optuna.pruners, "Pruner", also="none, ")
    with pytest.raises(UserError, match="sampler=Base is unknown"):
        class_name("sampler", "Base", optuna.samplers, "Sampler")


def test_an_option_may_be_a_pruner_with_options_of_its_own() -> None:
    inner = {"name": "median", "n_startup_trials": 7}
    built = build("pruner", optuna.pruners, "PatientPruner", {"wrapped_pruner": inner, "patience": 2})
    assert isinstance(built, optuna.pruners.PatientPruner)
    assert isinstance(built._wrapped_pruner, optuna.pruners.MedianPruner)
    assert built._wrapped_pruner._n_startup_trials == 7


def test_what_a_class_takes_is_what_it_may_be_given() -> None:
    assert "n_startup_trials" in parameters(optuna.pruners, "MedianPruner")
    with pytest.raises(UserError, match=r"pruner_options has speed, which MedianPruner does not take; it takes: n_st"):
        build("pruner", optuna.pruners, "MedianPruner", {"speed": 3})
    with pytest.raises(UserError, match="pruner=Median cannot be made with its pruner_options"):
        build("pruner", optuna.pruners, "MedianPruner", {"n_startup_trials": -1})
