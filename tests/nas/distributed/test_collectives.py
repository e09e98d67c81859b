"""Training over several processes: what one process would have computed, said once, in one run folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from nas.data import Batch
from nas.distributed.collectives import check_batch_size, own_share
from nas.errors import UserError
from nas.runs import checkpoints
from nas.supernet.discretised import CALIBRATION_BATCHES
from tests.nas import commands
from tests.nas.commands import contents, nas
from tests.nas.distributed.several import (
    KILLED,
    OPTIONS,
    Processes,
    in_trouble,
    searched,
    torchrun,
    trained_alike,
)
from tests.nas.distributed.starts import TORCHRUN, start


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    """A search in two processes that went well."""
    folder = tmp_path_factory.mktemp("two")
    made = torchrun(folder / "logs", "-m", "nas.search", *OPTIONS, f"output={folder / 'outputs'}")
    assert made.ended.status == 0, made.ended.err
    assert searched(folder / "outputs") == made.ended.run
    return made


def test_two_processes_train_as_one(two: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "CALIBRATION_BATCHES", CALIBRATION_BATCHES)  # as many as in the two processes
    alone = nas("search", *OPTIONS, f"output={tmp_path}")
    trained_alike(two.ended.run, alone.run, within=1e-5)
    found, expected = (json.loads((run / "metrics.json").read_text()) for run in (two.ended.run, alone.run))
    for routing, figures in expected["routings"].items():
        assert found["routings"][routing]["1x"]["loss"] == pytest.approx(figures["1x"]["loss"], abs=1e-5), routing
    assert found["cost"] == expected["cost"]
    assert contents(two.ended.run).keys() >= {"config.yaml", "architecture.json", "model.safetensors", "report.html"}


def test_two_processes_speak_with_one_voice(two: Processes) -> None:
    assert two.second == ""
    for said in ("run folder", "step 10 of 20", "step 20 of 20", "tokens per second", "report.html"):
        assert two.ended.out.count(said) == 1, said
    assert "Warning" not in two.ended.err


def test_a_killed_process_ends_all_and_the_run_can_be_resumed(two: Processes, tmp_path: Path) -> None:
    killed = in_trouble(tmp_path, 13, 1, KILLED)
    assert killed.ended.status == 1
    assert killed.ended.err.count("error: process 1 of 2 ended or does not respond") == 1
    run = searched(tmp_path)
    assert checkpoints.paths(run)[0].name == "step=000000010.ckpt"
    copy = shutil.copytree(run, tmp_path / "copy")
    resumed = torchrun(tmp_path / "again", "-m", "nas.search", *OPTIONS, f"resume={run}")
    assert resumed.ended.status == 0, resumed.ended.err
    assert "Continuing from step 10: 10 steps are left to train." in resumed.ended.out
    assert contents(run)["model.safetensors"] == contents(two.ended.run)["model.safetensors"]
    trained_alike(run, two.ended.run, within=0)
    assert nas("search", f"resume={copy}").status == 0
    trained_alike(copy, two.ended.run, within=1e-5)


def test_a_batch_that_cannot_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, TORCHRUN)
    check_batch_size(16)
    with pytest.raises(UserError, match=r"data.batch_size=20 .* over 8 processes; give 24, or start 5."):
        check_batch_size(20)


@pytest.mark.parametrize(("size", "own"), [(16, slice(10, 12)), (12, slice(0, 12))], ids=["split", "whole"])
def test_validation_is_split_where_it_can_be(monkeypatch: pytest.MonkeyPatch, size: int, own: slice) -> None:
    start(monkeypatch, TORCHRUN)
    tokens = torch.arange(size)[:, None]
    ((part, targets, planted, documents),) = own_share([Batch(tokens, -tokens, None, 2 * tokens)])
    assert torch.equal(part, tokens[own])
    assert torch.equal(targets, -tokens[own])
    assert planted is None
    assert torch.equal(documents, 2 * tokens[own])


MEANS = """
import json, math, torch, nas.jobs.libraries
from nas.distributed import rendezvous
from nas.distributed.collectives import average_over, averages, gathered, over_all_rows, part_of_mean
from nas.data import IGNORE, Batch
from nas.distributed.rendezvous import FailedElsewhere, connect, from_first, report_failure, together
from nas.distributed.launch import launched
connect()
torch.distributed.init_process_group("gloo")
rank = launched().rank
weight = torch.ones((), requires_grad=True)
values = weight * [torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0])][rank]
part = part_of_mean(values)
part.backward()
nothing = part_of_mean(values[:0])
targets = [torch.tensor([[1, IGNORE, IGNORE]]), torch.tensor([[1, 1, 1]])][rank]
unscored = [torch.full((1, 3), IGNORE), targets][rank]
torch.manual_seed(0)
found = {
    "figures": [x.item() for x in averages({"mean": part, "gradient": weight.grad}).values()],
    "validation": average_over([Batch(targets, targets, None)], [8.0, 4.0][rank], torch.device("cpu")),
    "unscored": average_over([Batch(unscored, unscored, None)], [math.nan, 4.0][rank], torch.device("cpu")),
    "nothing": nothing.item(),
    "bytes": average_over([Batch(targets, targets, None)], [8.0, 4.0][rank], torch.device("cpu"), torch.tensor([9, 5])),
    "drawn": over_all_rows(lambda rows: rows + torch.rand_like(rows), torch.zeros(2, 3)).tolist(),
    "agreed": from_first(lambda: rank + 10),
    "gathered": gathered(torch.tensor([[1.0, rank], [2.0, rank]])).tolist(),
    "ragged": gathered([torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0])][rank], ragged=True).tolist(),
}
together()
rendezvous._heartbeat().stop()  # it would end both processes after the failure
reported = report_failure(7) if rank == 0 else None
try:
    from_first(lambda: None) if rank else None
except FailedElsewhere as error:
    reported = error.status
print(json.dumps(found | {"reported": reported}))
"""


def test_figures_of_processes_with_unequal_parts(tmp_path: Path) -> None:
    script = tmp_path / "means.py"
    script.write_text(MEANS)
    ended = torchrun(tmp_path / "logs", str(script))
    assert ended.ended.status == 0, ended.ended.err
    first, second = json.loads(ended.ended.out), json.loads(ended.second)
    torch.manual_seed(0)
    drawn = torch.rand(4, 3)
    for found, rows in ((first, drawn[:2]), (second, drawn[2:])):
        assert found["figures"] == [4.0, 4.0]
        assert found["validation"] == 5.0
        assert (found["nothing"], found["unscored"]) == (0.0, 4.0)
        assert found["bytes"] == 5.0
        assert found["agreed"] == 10
        assert found["gathered"] == [[1, 0], [2, 0], [1, 1], [2, 1]]
        assert found["ragged"] == [1, 2, 9, 4]
        assert torch.equal(torch.tensor(found["drawn"]), rows)
    assert first["reported"] is None
    assert second["reported"] == 7
