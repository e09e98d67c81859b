"""Errors that users cause, and warnings: one sentence each."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from nas.config import CONF, choices, register
from nas.errors import UserError, explain, user_errors, warn


def test_a_refused_argument_becomes_an_error_of_the_user() -> None:
    with pytest.raises(UserError, match="width=0") as caught, user_errors():
        raise ValueError("width=0 is not allowed")
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ZeroDivisionError), user_errors():
        raise ZeroDivisionError


def test_a_warning_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    warn(f"[red]{'long ' * 40}")
    assert capsys.readouterr().err == f"warning: [red]{'long ' * 40}\n"


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("model=huge", "model=huge is unknown; choose one of: 30m, 340m, 760m, pretrained, tiny."),
        ("logger=[csv,paper]", "logger=paper is unknown; choose one of: csv, mlflow, tensorboard, wandb."),
        ("model.width=[", "model.width=[ cannot be read; give name=value, in quotes if the value has brackets"),
        ("trainer.stepz=1", "trainer.stepz is not an option; did you mean trainer.steps? trainer has: "),
        ("nothing=1", "nothing is not an option; there are: "),
        ("seed=first", "seed: Value 'first'"),
        ("plugins=mine", "plugins=mine is no list; give plugins=[mine]."),
    ],
)
def test_what_hydra_refuses_is_explained(option: str, told: str) -> None:
    register()
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises((HydraException, OmegaConfBaseException)) as caught,
    ):
        compose("search", ["+space=token_hybrid", option])
    assert told in explain(caught.value, choices)
    assert "\n" not in explain(caught.value, choices)
