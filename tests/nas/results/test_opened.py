"""A run opened from its folder: its model, the policy that it was trained for, and what cannot be opened."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nas.errors import UserError
from nas.models.policies import learnt
from nas.models.routing import first_alone
from nas.results.opened import command_of, open_run, open_trained
from tests.nas.commands import Ended


def test_a_finished_run_has_its_model_and_its_policy(editable: Path) -> None:
    opened = open_run("run", str(editable), "cpu")
    assert opened.trained.architecture.routed_layers == (0, 1)
    assert not opened.trained.training
    assert (opened.routes, opened.policy, opened.device) == (True, learnt, torch.device("cpu"))
    metrics = json.loads((editable / "metrics.json").read_text())
    metrics["budget"]["dense_steps"] = None
    (editable / "metrics.json").write_text(json.dumps(metrics))
    dense = open_run("run", str(editable))
    assert (dense.routes, dense.policy) == (False, first_alone)


def test_what_cannot_be_opened_is_refused(search: Ended, finished: Path) -> None:
    with pytest.raises(UserError, match=r"device=tpu is not on this machine; give one of: auto, cpu"):
        open_run("run", str(search.run), "tpu")
    (finished / "model.safetensors").unlink()
    assert open_run("run", str(finished)).model is None
    with pytest.raises(UserError, match=r"beside=\S+ has no weights yet; finish the run first"):
        open_trained("beside", str(finished))


def test_tokens_are_the_same_for_one_task_of_one_tokenizer(search: Ended) -> None:
    recall = open_run("run", str(search.run))
    assert recall.tokens.startswith("recall with ")
    mine, theirs = (
        recall._replace(task=SimpleNamespace(name="tokens", vocab_size=300, tokenizer=each * 64))  # type: ignore[arg-type]
        for each in "ab"
    )
    assert mine.tokens == "tokens with 300 token ids of the tokenizer aaaaaaaaaaaa"
    assert mine.tokens != theirs.tokens


def test_the_command_of_a_folder(search: Ended, finished: Path, tmp_path: Path) -> None:
    assert command_of("run", str(search.run)) == "search"
    with pytest.raises(UserError, match=r"run=.*: there is no such folder; give the folder of a run"):
        command_of("run", str(tmp_path / "nowhere"))
    shutil.rmtree(finished)
    finished.mkdir()
    with pytest.raises(UserError, match="is not the folder of a run"):
        command_of("run", str(finished))
