"""`python -m nas.search searcher=halving`: architectures are trained alone, and the worse are dropped."""

import json
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nas.budget.cost import training_flops_per_token
from nas.evaluation.metrics import merit
from nas.results.report_data import trained_alone
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.runs.history import history
from nas.runs.model_files import load_architecture
from nas.searchers.halving import halve
from nas.searchers.halving.results import Result, Results
from nas.training.module import TrainingModule
from tests.nas.commands import SMALL, Ended, contents, nas, refusal
from tests.nas.interrupting import interrupt_at
from tests.nas.pretrained.written import write_model
from tests.nas.processes import forked

SPACE = ("+space=joint", *SMALL, "model.layers=3", "space.operations=[linear,token_hybrid]", "space.chunk_sizes=[8]")
SEARCH = (*SPACE, "space.layers=[1,2]", "budget.context=64", "budget.target=5000", "searcher=halving")
SEARCH += ("searcher.batches=2", "searcher.reduction_factor=2")
"""Four candidates: to step 3 all, to step 6 two."""


@pytest.fixture(scope="session")
def halved(shared: Callable[..., Ended]) -> Ended:
    """A small search by halving; tests do not write to its folder."""
    return shared("halved", "search", *SEARCH)


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def untimed(run: Path) -> tuple[Any, Any]:
    """Rungs and metrics, without how long they took."""
    found, metrics = read(run, "rungs.json"), read(run, "metrics.json")
    for name in ("training_seconds", "evaluation_seconds", "tokens_per_second"):
        del metrics[name]
    for timed in (*found["results"], metrics["searched"], metrics["searched"]["best"]):
        assert timed.pop("seconds") >= 0
        timed.pop("training_seconds", None)
    return found, metrics


def test_every_architecture_is_trained_and_half_go_on(halved: Ended) -> None:
    assert halved.status == 0, halved.err
    assert "Training 4 architectures alone; 2 of them from step 3 on" in halved.out
    found, metrics = untimed(halved.run)
    first = [one for one in found["results"] if one["step"] == 3]
    last = [one for one in found["results"] if one["step"] == 6]
    assert [one["code"] for one in first] == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]

    def score(one: dict[str, Any]) -> float:
        return sum(one["merits"].values()) / 2

    kept = sorted(first, key=lambda one: (-score(one), one["cost"]))[:2]
    assert {one["number"] for one in last} == {one["number"] for one in kept}
    assert all(set(one["merits"]) == {"1", "2"} for one in found["results"])
    selected = max(last, key=score)
    assert found["selected"] == selected["number"]
    assert metrics["searched"]["best"]["options"] == selected["options"]
    assert metrics["searched"]["evaluations"] == 4
    assert [choice["found"] for choice in metrics["choices"]] == selected["options"]
    mixers = load_architecture(halved.run / "architecture.json").mixers
    assert list(mixers) == [option.split("@")[0] for option in selected["options"]]


def test_the_report_has_a_table_of_all_that_were_trained(halved: Ended) -> None:
    page = (halved.run / "report.html").read_text()
    assert "Architectures trained alone" in page
    rows = trained_alone(Run(halved.run), "recall")
    found = read(halved.run, "rungs.json")
    assert [row["trained to step"] for row in rows] == ["6", "6", "3", "3"]
    assert list(rows[0]) == ["architecture", "trained to step", "recall at 1x", "recall at 2x", "relative cost"]
    selected = next(one for one in found["results"] if one["number"] == found["selected"] and one["step"] == 6)
    assert rows[0]["recall at 2x"] == f"{abs(selected['merits']['2']):.3f}"


def test_time_tokens_and_flops_are_those_of_all_trainings(halved: Ended) -> None:
    found, metrics = read(halved.run, "rungs.json"), read(halved.run, "metrics.json")
    latest = {one["number"]: one for one in found["results"]}
    every = Results(Run(halved.run))
    assert every.steps == 4 * 3 + 2 * (6 - 3)
    tokens = {one["step"]: one["tokens"] for one in found["results"]}
    assert 0 < tokens[3] < tokens[6] <= 6 * 2 * 64
    assert metrics["training_tokens"] == 2 * tokens[3] + 2 * tokens[6]
    assert metrics["searched"]["training_flops"] == pytest.approx(sum(o["training_flops"] for o in latest.values()))
    sizes = load_architecture(halved.run / "architecture.json")
    linear = sizes.with_layers([layer._replace(mixer="linear") for layer in sizes.layers])
    first = next(one for one in found["results"] if one["code"] == [0, 0, 0])
    assert first["training_flops"] == tokens[3] * training_flops_per_token(linear, {}, 64)
    assert metrics["training_seconds"] > sum(one["training_seconds"] for one in latest.values()) / 2


def test_a_candidate_is_trained_as_a_search_of_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights to the last bit: a rung interrupts a training and changes nothing."""

    def best(results: Collection[Result], keep: int, last: bool) -> list[Result]:
        return sorted(results, key=lambda one: -one.number)[:keep]

    monkeypatch.setattr(halve, "best", best)
    ended = nas("search", *SEARCH, f"output={tmp_path}")
    assert read(ended.run, "metrics.json")["searched"]["best"]["code"] == [0, 1, 1]
    space = ("+space=token_hybrid", *SMALL, "model.layers=3", "model.routed_layers=[1,2]")
    budget = ("budget=kv_bytes", "budget.context=64", "budget.target=5000")
    alone = nas("search", *space, *budget, f"output={tmp_path}")
    assert alone.status == 0, alone.err
    assert contents(alone.run)["model.safetensors"] == contents(ended.run)["model.safetensors"]
    ours, theirs = (read(run, "metrics.json") for run in (ended.run, alone.run))
    assert ours["routings"] == theirs["routings"]
    assert ours["budget"] == theirs["budget"]


def test_the_folder_is_that_of_any_run_with_the_curves_of_the_others(halved: Ended) -> None:
    assert [entry["step"] for entry in history(Run(halved.run))] == [1, 2, 3, 4, 5, 6]
    assert checkpoints.newest(halved.run) == halved.run / "checkpoints" / "step=000000006.ckpt"
    others = sorted((halved.run / "candidates").iterdir())
    assert len(others) == 3
    for other in others:
        assert history(Run(other))
        assert checkpoints.newest(other) is None, "checkpoints of those that were dropped are deleted"


@pytest.mark.parametrize("at", [1, 5])
def test_a_stopped_search_resumes_to_the_same(
    halved: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(at, patch)
        stopped = nas("search", *SEARCH, f"output={tmp_path}")
    assert stopped.status == 130
    assert f"Continue with: resume={stopped.run}" in stopped.out
    assert len(Results(Run(stopped.run)).every) == (0 if at == 1 else 5)
    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 0, resumed.err
    assert untimed(stopped.run) == untimed(halved.run)
    assert contents(stopped.run)["model.safetensors"] == contents(halved.run)["model.safetensors"]


def test_a_search_that_was_killed_between_rungs_trains_nothing_twice(
    halved: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(halve, "move_into", killed)
        assert forked(lambda: nas("search", *SEARCH, f"output={tmp_path}")) == -signal.SIGKILL
    (run,) = (tmp_path / "search").iterdir()
    steps, training_step = list[int](), TrainingModule.training_step

    def counted(self: TrainingModule, batch: Any, index: int) -> Any:
        steps.append(self.global_step)
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", counted)
    time.sleep(1)  # TensorBoard orders its files by the second in which they were begun
    assert nas("search", f"resume={run}").status == 0
    assert steps == []
    assert untimed(run) == untimed(halved.run)


def test_a_diverged_candidate_is_not_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step = TrainingModule.training_step

    def lost(self: TrainingModule, batch: Any, index: int) -> Any:
        loss = training_step(self, batch, index)
        if len(self.space.routed) == 2:
            self.latest["loss"] = loss.detach() * float("nan")
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", lost)
    ended = nas("search", *SEARCH, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    found = Results(Run(ended.run))
    assert found.latest[3].score == -float("inf")
    assert found.latest[3].step == 3
    assert found.selected != 3


def test_layers_without_routers_are_compared_too(tmp_path: Path) -> None:
    options = (
        "space.operations=[softmax,linear]",
        "budget.target=0.34",
        f"output={tmp_path}",
        "searcher.evaluations=3",
    )
    ended = nas("search", "+space=layer_hybrid", *SMALL, "model.layers=3", *options, "searcher=halving")
    assert ended.status == 0, ended.err
    found = Results(Run(ended.run))
    assert len({one.code for one in found.every}) == 3
    assert all(one.options.count("softmax") <= 1 for one in found.every)
    metrics = read(ended.run, "metrics.json")
    row = metrics["routings"]["trained model"]["1x"]
    assert row["share"] == pytest.approx(metrics["budget"]["used"] / 1), "over all layers that could have been softmax"
    assert merit("recall", row["quality"], row["loss"]) <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("searcher.select_at=0.5", "searcher.select_at=0.5 has no place in searcher=halving, which trains each"),
        ("space.placement=0.1", "space.placement=0.1 has no place in searcher=halving"),
        ("searcher.length_factors=[]", "searcher.length_factors=[] is not allowed; give one or more"),
        ("searcher.first_rung=0", "searcher.first_rung"),
        ("searcher.reduction_factor=1", "searcher.reduction_factor"),
    ],
)
def test_options_that_cannot_work_are_refused_before_training(tmp_path: Path, given: str, message: str) -> None:
    assert message in refusal("search", *SEARCH, given, f"output={tmp_path}")


def test_candidates_start_from_the_pretrained_model_and_the_answer_is_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What alternatives learnt in the alignment stays, and the original teaches each candidate."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder)
    begun, fit = list[tuple[tuple[int, ...], dict[str, Tensor]]](), halve.fit

    def watched(module: TrainingModule, *given: Any) -> bool:
        begun.append((module.space.routed, {name: w.clone() for name, w in module.model.state_dict().items()}))
        return fit(module, *given)

    monkeypatch.setattr(halve, "fit", watched)
    plain = [option for option in SMALL if not option.startswith("model.")]
    plain.append("model.chunk_size=8")
    space = ("+space=joint", *plain, "space.operations=[window,token_hybrid]", "space.chunk_sizes=[8]")
    model = ("model=pretrained", f"model.path={folder}", "align.steps=2", "align.distillation=0.5", "heal.steps=2")
    ended = nas(
        "search",
        *space,
        *model,
        "searcher=halving",
        "searcher.evaluations=2",
        "searcher.batches=1",
        "budget.target=1e9",
        "budget.context=64",
        f"output={tmp_path}",
    )
    assert ended.status == 0, ended.err
    original = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    for _, weights in begun[:2]:
        assert torch.equal(weights["embedding.weight"], original)
    assert (ended.run / "healing").is_dir()
    metrics = read(ended.run, "metrics.json")
    assert metrics["searched"]["evaluations"] == 2
    assert metrics["original"] is not None


def test_each_architecture_is_trained_from_several_initial_weights(halved: Ended, tmp_path: Path) -> None:
    """The first start is that of a search without restarts, to the last bit."""
    ended = nas("search", *SEARCH, "searcher.restarts=2", "searcher.reduction_factor=4", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert "Training 4 architectures alone from 2 initial weights each; 2 of them from step 3 on" in ended.out
    first = [one for one in read(ended.run, "rungs.json")["results"] if one["step"] == 3]
    assert [one["restart"] for one in first] == [0, 1] * 4
    before = [one for one in read(halved.run, "rungs.json")["results"] if one["step"] == 3]
    assert [one["merits"] for one in first[::2]] == [one["merits"] for one in before]
    assert all(one["loss"] != other["loss"] for one, other in zip(first[::2], first[1::2], strict=True))
    assert {row["architecture"][-9:] for row in trained_alone(Run(ended.run), "recall")} == {"(start 1)", "(start 2)"}


def test_a_single_architecture_is_searched_by_its_restarts(tmp_path: Path) -> None:
    options = ("+space=token_hybrid", *SMALL, "searcher=halving", "searcher.restarts=3", f"output={tmp_path}")
    ended = nas("search", *options)
    assert ended.status == 0, ended.err
    assert "Training 1 architecture alone from 3 initial weights; 1 of them from step 3 on" in ended.out
    found = read(ended.run, "rungs.json")
    kept = max(found["results"][:3], key=lambda one: sum(one["merits"].values()))
    assert found["selected"] == kept["number"] == found["results"][-1]["number"]


def test_pretrained_weights_have_no_restarts(tmp_path: Path) -> None:
    write_model(tmp_path)
    model = ("model=pretrained", f"model.path={tmp_path}")
    options = ("+space=layer_hybrid", *model, "data=text", "data.length=64", "searcher=halving", "searcher.restarts=2")
    message = refusal("search", *options)
    assert f"all start from those of model.path={tmp_path}; give searcher.restarts=1" in message
