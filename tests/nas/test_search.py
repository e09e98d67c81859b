"""`python -m nas.search`: what a search leaves behind and says."""

import json
import math
import re
import signal
from pathlib import Path

import pytest
import torch
import yaml

from nas.data import IGNORE, build_task, byte_lengths_of
from nas.evaluation.evaluate import evaluate
from nas.models.language_model import LanguageModel
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.runs.history import history
from nas.runs.model_files import load_architecture, load_weights
from nas.runs.snapshots import map_of, read_snapshots
from nas.training.module import TrainingModule
from tests.nas.commands import BATCHES, MODEL, SEARCH, SHORT, SMALL, TRAINER, Ended, composed, contents, nas, refusal
from tests.nas.data.shards.written import train_tokenizer, write_folder
from tests.nas.gpu import ON_GPU

RUN_FOLDER = {
    *("config.yaml", "checksums.json", "architecture.json", "model.safetensors", "metrics.json"),
    *("checkpoints", "tensorboard", "report.html"),
}
SNAPSHOTS = "routing.json"
"""Beside it where a layer has routed by then."""
ROUTINGS = ["searched routing", "random, same share", "all softmax", "all linear"]


def metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_it_leaves_a_run_folder_and_nothing_else(search: Ended) -> None:
    assert {path.name for path in search.run.iterdir()} == RUN_FOLDER | {SNAPSHOTS}
    assert checkpoints.paths(search.run)[0].name == "step=000000006.ckpt"
    assert {path.name.split(".")[0] for path in (search.run / "tensorboard").iterdir()} == {"events", "hparams"}
    assert {path.name for path in search.run.parent.parent.iterdir()} == {"search"}


def test_metrics_tell_quality_shares_and_cost(search: Ended) -> None:
    found = metrics(search.run)
    assert found["finished"] is True
    assert found["step"] == 6
    assert found["quality"] == "recall"
    assert list(found["routings"]) == ROUTINGS
    for routing in found["routings"].values():
        assert list(routing) == ["1x", "2x"]
        assert 0 <= routing["1x"]["quality"] <= 1
    shares = {name: routing["1x"]["share"] for name, routing in found["routings"].items()}
    assert shares["all softmax"] == 1
    assert shares["all linear"] == 0
    assert found["routings"]["searched routing"]["1x"]["shares"].keys() == {"0", "1"}
    assert set(found["retrieving_layer"]) == {"layer", "precision", "recall"}
    assert found["cost"]["parameters"] > 0
    assert found["cost"]["kv_bytes"].keys() == found["cost"]["flops_per_token"].keys() == {"4096", "32768", "131072"}
    assert found["training_seconds"] > 0
    assert found["evaluation_seconds"] > 0


def test_its_architecture_and_weights_give_the_quality_it_reports(search: Ended) -> None:
    architecture = load_architecture(search.run / "architecture.json")
    model = LanguageModel(architecture)
    load_weights(model, search.run / "model.safetensors")
    config = composed("search", *SEARCH)
    task = build_task(config.data, config.seed)
    reported = metrics(search.run)["routings"]["searched routing"]
    for factor in (1, 2):
        result = evaluate(model, task.validation_batches(factor), task.quality)
        assert result.quality == reported[f"{factor}x"]["quality"]
        assert result.share == reported[f"{factor}x"]["share"]
        assert result.loss == pytest.approx(reported[f"{factor}x"]["loss"], rel=1e-5)


def test_architecture_json_tells_how_it_was_searched_and_measured(search: Ended) -> None:
    found = json.loads((search.run / "architecture.json").read_text())
    assert set(found) == {"architecture", "relaxation", "budget", "measured"}
    assert found["relaxation"]["name"] == "argmax_ste"
    assert found["measured"]["share"] == metrics(search.run)["routings"]["searched routing"]["1x"]["share"]


def test_it_says_what_it_does_and_what_came_out(search: Ended) -> None:
    assert search.out.startswith(f"Searching token_hybrid on recall, run folder {search.run}\n")
    assert re.search(r"step 3 of 6  loss \d\.\d+  recall \d\.\d+  share \d\.\d+  budget \d\.\d+", search.out)
    for routing in ROUTINGS:
        assert routing in search.out
    assert "recall: higher is better" in search.out
    assert f"Open {search.run}/report.html, or watch with: tensorboard --logdir {search.run}\n" in search.out
    assert search.err == ""


def test_the_report_tells_the_quality_and_the_command(search: Ended) -> None:
    page = (search.run / "report.html").read_text()
    quality = metrics(search.run)["routings"]["searched routing"]["1x"]["quality"]
    assert f"{quality:.3f}" in page
    for routing in ROUTINGS:
        assert routing in page
    assert search.run.name in page
    assert "seed=" not in page
    assert "data.length_factors=[1,2]" in page


def test_two_searches_with_one_seed_find_the_same(search: Ended, tmp_path: Path) -> None:
    again = nas("search", *SEARCH, f"output={tmp_path}")
    other = nas("search", *SEARCH, f"output={tmp_path}", "seed=1")
    weights = [contents(run)["model.safetensors"] for run in (search.run, again.run, other.run)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_it_searches_on_text(tmp_path: Path) -> None:
    (tmp_path / "poem[1].txt").write_bytes(b"".join(b"line %04d\n" % line for line in range(3000)))
    text = ("data=text", "data.length=64", f"data.path='{tmp_path}/poem[1].txt'")
    ended = nas("search", "+space=token_hybrid", *MODEL, *text, *BATCHES, *TRAINER, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert "bits per byte: lower is better" in ended.out
    assert "retrieves" not in ended.out
    found = metrics(ended.run)
    assert found["retrieving_layer"] is None
    searched = found["routings"]["searched routing"]["1x"]
    assert searched["quality"] == pytest.approx(searched["loss"] / math.log(2), rel=1e-5)
    for routing in found["routings"].values():
        assert [end for end, _ in routing["1x"]["by_position"]] == [16, 32, 64]
        assert [end for end, _ in routing["2x"]["by_position"]] == [16, 32, 64, 128]
    bits = [bits for _, bits in searched["by_position"]]
    assert (sum(bits) + bits[2]) / 4 == pytest.approx(searched["quality"], rel=1e-5)
    resumed = nas("search", f"resume={ended.run}")
    assert resumed.status == 0, resumed.err


TASKS = {
    "identifiers": ("data.length=128", "data.queries=2"),
    "mqar": ("data.vocab_size=64", "data.length=64", "data.pairs=8", "data.settings=[[32,4,1],[64,8,1]]"),
    "needle": ("data.length=128",),
    "needle of digits": ("data.form=digits", "data.length=192"),
    "state_tracking": ("data.length=64",),
}


@pytest.mark.parametrize("task", TASKS)
def test_it_searches_on(tmp_path: Path, task: str) -> None:
    name = task.split()[0]
    options = (f"data={name}", *TASKS[task])
    ended = nas(
        "search", "+space=token_hybrid", *MODEL, *BATCHES, *TRAINER, "trainer.steps=2", *options, f"output={tmp_path}"
    )
    assert ended.status == 0, ended.err
    found = metrics(ended.run)
    assert f"{found['quality'].replace('_', ' ')}: higher is better" in ended.out
    assert (found["retrieving_layer"] is None) == (name == "state_tracking")
    for routing in found["routings"].values():
        assert 0 <= routing["1x"]["quality"] <= 1
        assert routing["1x"]["by_position"] is routing["2x"]["by_position"] is None
    resumed = nas("search", f"resume={ended.run}")
    assert resumed.status == 0, resumed.err


@pytest.mark.parametrize("option", ["relaxation=gumbel", "model.routed_layers=[]", "space.route_grad=selected"])
def test_it_searches_with(tmp_path: Path, option: str) -> None:
    ended = nas("search", *SEARCH, *SHORT, option, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert {path.name for path in ended.run.iterdir()} - {SNAPSHOTS} == RUN_FOLDER


SPACES = {
    "layer_hybrid": ["softmax", "linear", "token_hybrid@8"],
    "chunk_size": ["token_hybrid@4", "token_hybrid@8", "token_hybrid@16"],
    "joint": ["softmax", "linear", "token_hybrid@4", "token_hybrid@8", "token_hybrid@16", "window"],
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "options", [(), ("relaxation=gdas",), ("relaxation=darts",), ("trainer.bilevel=true", "relaxation=drnas")], ids=str
)
def test_layers_choose(tmp_path: Path, space: str, options: tuple[str, ...]) -> None:
    grains = () if space == "layer_hybrid" else ("searcher=pairs", "space.chunk_sizes=[4,8,16]", "budget.target=6000")
    ended = nas("search", f"+space={space}", *SMALL, *SHORT, *grains, *options, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert {path.name for path in ended.run.iterdir()} - {SNAPSHOTS} == RUN_FOLDER
    found = metrics(ended.run)
    assert [list(choice["probabilities"]) for choice in found["choices"]] == [SPACES[space]] * len(found["choices"])
    assert "Found: " + ", ".join(choice["found"] for choice in found["choices"]) in ended.out
    assert next(iter(found["routings"])) == "found architecture"
    architecture = load_architecture(ended.run / "architecture.json")
    model = LanguageModel(architecture)
    load_weights(model, ended.run / "model.safetensors")
    config = composed("search", f"+space={space}", *SMALL, *SHORT, *grains)
    task = build_task(config.data, config.seed)
    again = evaluate(model, task.validation_batches(), task.quality)
    assert again.loss == pytest.approx(found["routings"]["found architecture"]["1x"]["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("space", "resource", "target"),
    [("layer_hybrid", "kv_bytes", 300000), ("joint", "kv_bytes", 20000), ("joint", "flops", 30000)],
)
def test_layers_may_attend_to_a_window(tmp_path: Path, space: str, resource: str, target: int) -> None:
    """Under a budget for which softmax everywhere is too expensive; a window of 8 tokens keeps 8 of 4096."""
    operations = [] if space == "joint" else ["space.operations=[softmax,linear,token_hybrid,window]"]
    few = [] if space == "layer_hybrid" else ["searcher.evaluations=16", "searcher.batches=1"]
    budget = (f"budget={resource}", "budget.context=4096", f"budget.target={target}")
    options = ("space.chunk_sizes=[8]", "model.window=8", *operations, *few, *budget, f"output={tmp_path}")
    ended = nas("search", f"+space={space}", *SMALL, *SHORT, *options)
    assert ended.status == 0, ended.err
    found = metrics(ended.run)
    names = {"softmax", "linear", "token_hybrid@8", "window"}
    assert {choice["found"] for choice in found["choices"]} <= names
    assert (found["searched"] is None) == (space == "layer_hybrid"), "joint scores architectures"
    architecture = load_architecture(ended.run / "architecture.json")
    assert architecture.window == 8
    assert found["budget"]["resource"] == resource
    assert found["budget"]["used"] <= target + 0.02 * found["budget"]["most"]
    again = nas("train", f"architecture={ended.run / 'architecture.json'}", *SMALL, *SHORT, f"output={tmp_path}")
    assert again.status == 0, again.err
    refused = nas("search", f"+space={space}", *SMALL, *options, "budget.target=1")
    least, most = (f"{found['budget'][end]:.0f}" for end in ("least", "most"))
    assert f"architectures of {space} need from {least} to {most} " in refused.err


def test_a_chunk_as_long_as_the_sequences_is_warned_of(tmp_path: Path) -> None:
    options = ("space.chunk_sizes=[8,64]", "budget.target=20000", "trainer.steps=2", f"output={tmp_path}")
    ended = nas("search", "+space=chunk_size", *SMALL, *options)
    assert ended.status == 0, ended.err
    assert ended.err.startswith("warning: space.chunk_sizes has 64, but data.length=64: in training such a chunk is")


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_it_searches_in_other_precisions(tmp_path: Path, precision: str) -> None:
    ended = nas("search", *SEARCH, *SHORT, f"trainer.precision={precision}", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert math.isfinite(metrics(ended.run)["routings"]["searched routing"]["1x"]["loss"])


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    ended = nas("search", *SEARCH, *SHORT, "name='[red]x [bold'", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert ended.run.name.endswith("_[red]x [bold")
    assert ended.run.is_dir()


def test_many_runs_in_one_command(tmp_path: Path) -> None:
    ended = nas("search", "-m", *SEARCH, *SHORT, "seed=0,1", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    runs = list((tmp_path / "search").iterdir())
    assert [{path.name for path in run.iterdir()} for run in runs] == [RUN_FOLDER | {SNAPSHOTS}] * 2
    assert {Run(run).config()["seed"] for run in runs} == {0, 1}
    assert yaml.safe_load((tmp_path / "multirun" / "multirun.yaml").read_text())
    assert {path.name for path in tmp_path.rglob("*") if path.parent.name == "multirun"} == {"multirun.yaml"}


def test_nothing_is_left_where_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert nas("search", *SEARCH, *SHORT, "output=../there").status == 0
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.gpu
def test_a_search_uses_the_gpu_in_bfloat16_and_can_be_resumed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step = TrainingModule.training_step
    devices = set()

    def interrupted(self: TrainingModule, batch, index: int):
        devices.update(tensor.device.type for tensor in batch if tensor is not None)
        if self.global_step == 2:
            signal.raise_signal(signal.SIGINT)
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupted)
    stopped = nas("search", *ON_GPU, f"output={tmp_path}")
    assert stopped.status == 130, stopped.err
    monkeypatch.undo()
    assert devices == {"cuda"}
    assert yaml.safe_load((stopped.run / "config.yaml").read_text())["config"]["trainer"]["precision"] == "bf16-mixed"
    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 0, resumed.err
    assert "tokens per second" in resumed.out
    metrics = json.loads((stopped.run / "metrics.json").read_text())
    assert metrics["finished"] is True
    assert metrics["tokens_per_second"] > 0
    assert [row["step"] for row in history(Run(stopped.run))] == [1, 2, 3, 4, 5, 6]
    assert contents(stopped.run).keys() >= {"model.safetensors", "report.html"}


@pytest.mark.gpu
@pytest.mark.parametrize("space", ["token_hybrid", "layer_hybrid", "chunk_size", "joint"])
@pytest.mark.parametrize("mode", ["budget.exact=true", "budget.exact=false"])
def test_every_space_ends_within_its_budget_on_the_gpu(tmp_path, space: str, mode: str) -> None:
    given = [option for option in ON_GPU if not option.startswith("+space")]
    grains = ["space.chunk_sizes=[16,32]"] if space in ("chunk_size", "joint") else []
    budget = ["budget=softmax_share", "budget.target=0.3", mode]
    ended = nas("search", f"+space={space}", *given, *grains, *budget, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    metrics = json.loads((ended.run / "metrics.json").read_text())
    assert metrics["finished"] is True
    assert metrics["budget"]["used"] <= 0.3 + 0.15, "each of a layer's decisions is a share of its own here"


def test_it_searches_on_tokens_of_packed_documents(tmp_path: Path) -> None:
    """With a dense phase, distillation, calibration, evaluations and routing maps."""
    tokenizer = train_tokenizer(tmp_path / "tokenizer.json")
    documents = [f"def name_{number}(argv):\n    return {number}\n".encode() * 3 for number in range(30)]
    for name, part in (("one", documents[:20]), ("two.2", documents[20:])):
        write_folder(tmp_path / name, {"train": [part], "validation": [part[::3]]}, tokenizer)
    mix = f"data.mix={{{tmp_path}/one: 3, {tmp_path}/two.2: 1}}"
    options = ("data=tokens", mix, "data.documents=packed", "data.length=64")
    budget = ("budget.dense_until=0.3", "budget.distillation=0.5", "budget.target=0.5")
    ended = nas("search", "+space=token_hybrid", *MODEL, *options, *BATCHES, *TRAINER, *budget, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f"Reading {tmp_path}/one + {tmp_path}/two.2 (6 files")
    assert "loss per" in ended.out  # a narrow terminal has the heading in two lines
    found = metrics(ended.run)
    task = build_task(composed("search", "+space=token_hybrid", *options, *BATCHES).data, 0)
    lengths, batches = byte_lengths_of(task), task.validation_batches()
    assert lengths is not None
    targets = torch.cat([batch.targets[batch.targets != IGNORE] for batch in batches])
    per_token = lengths[targets].double().mean().item()
    ends = [16, 32, max(batch.scored().documents.longest for batch in batches)]
    for routing in found["routings"].values():
        own = routing["1x"]
        assert own["quality"] == pytest.approx(own["loss"] / math.log(2) / per_token, rel=1e-5)
        assert [end for end, _ in own["by_position"]] == [end for end, _ in own["loss_by_position"]] == ends
    (last,) = read_snapshots(Run(ended.run))[-1:]
    assert len(map_of(last, task).tokens) == batches[0].longest_document().tokens.shape[1]
    assert found["chance"] == task.chance()
    logged = [row["validation_bits_per_byte"] for row in history(Run(ended.run)) if "validation_bits_per_byte" in row]
    assert len(logged) == 2
    assert all(0 < bits < 12 for bits in logged)
    page = (ended.run / "report.html").read_text()
    for text in ("def·name", "By position in the longest sequences", "loss per token at 64 tokens"):
        assert text in re.sub(r"<[^>]+>", "", page)
    again = nas("visualize", f"run={ended.run}", "prompt='def größe(x)'", f"output={tmp_path}/page.html")
    assert again.status == 0, again.err
    assert "größe" in re.sub(r"<[^>]+>|\s", "", (tmp_path / "page.html").read_text())
    assert nas("search", f"resume={ended.run}").status == 0
    shard = tmp_path / "two.2" / "train-00000.bin"
    shard.write_bytes(b"\x05\x00" + shard.read_bytes()[2:])
    assert f"(changed {tmp_path}/two.2/train-00000.bin)" in refusal("search", f"resume={ended.run}")
