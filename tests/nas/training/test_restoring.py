"""Checkpoints of another content are refused in one line, before anything is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.runs import checkpoints
from tests.nas.commands import contents, nas, refusal

Damage = Callable[[dict[str, Any]], object]


def saved(folder: Path, damage: Damage) -> None:
    """Damage both checkpoints of a run, as a program does that knows their format: the checksums are gone."""
    (folder / "checksums.json").unlink()
    for path in checkpoints.paths(folder):
        content = torch.load(path, weights_only=True)
        damage(content)
        torch.save(content, path)


def first(content: dict[str, Any]) -> dict[str, Any]:
    """The state of the first parameter in the optimizer."""
    state: dict[str, Any] = content["optimizer_states"][0]["state"][0]
    return state


def schedule(content: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = content["lr_schedulers"][0]
    return state


WEIGHT = "model.embedding.weight"
DAMAGE: dict[str, tuple[Damage, str]] = {
    "no weights": (lambda c: c.pop("state_dict"), "it has no state_dict"),
    "no optimizer": (lambda c: c.pop("optimizer_states"), "it has no optimizer_states"),
    "optimizer of another type": (lambda c: c.update(optimizer_states="abc"), "it has no optimizer_states"),
    "two optimizers": (lambda c: c["optimizer_states"].append({}), "the state of the optimizer"),
    "no schedule": (lambda c: c["lr_schedulers"].clear(), "the state of the optimizer or of its schedule"),
    "rates that are text": (lambda c: schedule(c).update(base_lrs=["a", "b"]), "the schedule of the learning rate"),
    "a weight is missing": (lambda c: c["state_dict"].pop(WEIGHT), f"{WEIGHT} is missing"),
    "a weight too many": (lambda c: c["state_dict"].update(other=torch.zeros(1)), "other is missing"),
    "a weight of another shape": (lambda c: c["state_dict"].update({WEIGHT: torch.zeros(2, 3)}), WEIGHT),
    "a weight that is text": (lambda c: c["state_dict"].update({WEIGHT: "abc"}), WEIGHT),
    "a moment of another shape": (lambda c: first(c).update(exp_avg=torch.zeros(3)), "exp_avg of parameter 0"),
    "a moment is missing": (lambda c: first(c).pop("exp_avg_sq"), "has other content (KeyError)"),
    "a step of another shape": (lambda c: first(c).update(step=torch.zeros(2)), "the step of parameter 0"),
    "a rate that is text": (lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="abc"), "'abc'"),
    "a count that is text": (lambda c: c["loops"]["fit_loop"]["epoch_progress"].update(total="abc"), "loops has"),
    "a time that is text": (lambda c: c["callbacks"]["Timer"]["time_elapsed"].update(train="abc"), "callbacks has"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_checkpoint_with_other_content(finished: Path, damage: Damage, reason: str) -> None:
    saved(finished, damage)
    newest, _ = checkpoints.paths(finished)
    before = contents(finished)
    message = refusal("search", f"resume={finished}")
    assert message.startswith(f"error: {newest} is damaged (")
    assert reason in message
    assert contents(finished) == before


def test_what_only_lightning_knows(finished: Path) -> None:
    """A part of the loops' state is missing: the message names the checkpoint and the error."""
    saved(finished, lambda content: content["loops"].clear())
    newest, _ = checkpoints.paths(finished)
    message = refusal("search", f"resume={finished}")
    assert message.startswith(f"error: {newest} is damaged: it cannot be restored (KeyError: ")


def test_an_error_of_training_stays_one(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a bug")

    checkpoints.paths(finished)[0].unlink()
    monkeypatch.setattr("nas.training.module.TrainingModule.training_step", fail)
    with pytest.raises(KeyError, match="a bug"):
        nas("search", f"resume={finished}")
