"""A search under a budget on milliseconds: its table in the run folder, its report, and the same costs when resumed."""

import json
from pathlib import Path

import pytest

from nas.latency.table import LATENCIES, read_latencies
from tests.nas.commands import SHORT, SMALL, Ended, nas, refusal
from tests.nas.latency.examples import latency
from tests.nas.latency.timing import Timing, timing

__all__ = ["timing"]

JOINT = ("+space=joint", "space.chunk_sizes=[8]", "space.operations=[linear,softmax,token_hybrid]", "model.layers=2")
LIMITED = (*JOINT, *SMALL, *SHORT, "searcher.batches=1", "budget=latency")


def search(folder: Path, *options: str) -> Ended:
    return nas("search", *LIMITED, f"output={folder}", *options)


def test_a_search_keeps_its_table(timing: Timing, tmp_path: Path) -> None:
    ended = search(tmp_path, "budget.target=3")
    assert ended.status == 0, ended.err
    assert "Latencies of decode at 4,096 tokens on " in ended.out
    kept = read_latencies(ended.run)
    assert kept is not None
    assert list(kept.layers) == timing.layers
    budget = json.loads((ended.run / "metrics.json").read_text())["budget"]
    assert (budget["resource"], budget["target"]) == ("latency", 3)
    assert (budget["least"], budget["most"]) == (0.25 + 2 * 0.5, 0.25 + 2 * 3.125)
    assert budget["least"] <= budget["used"] <= 3.001
    assert "budgeted latency of decode at 4k tokens" in (ended.run / "report.html").read_text()


def test_a_resumed_search_has_the_costs_that_it_began_with(timing: Timing, tmp_path: Path) -> None:
    began = search(tmp_path / "out", "budget.target=3").run
    kept = (began / LATENCIES).read_bytes()
    timing.factor = 0.1  # another machine, on which the target could not be given
    for file in (tmp_path / "cache").rglob("*.json"):
        file.unlink()
    before = json.loads((began / "metrics.json").read_text())["budget"]
    timing.layers.clear()
    ended = nas("search", f"resume={began}")
    assert ended.status == 0, ended.err
    assert json.loads((began / "metrics.json").read_text())["budget"] == before
    assert (began / LATENCIES).read_bytes() == kept
    assert timing.layers == []


@pytest.mark.parametrize(
    ("target", "given"), [("", "0"), ("budget.target=1.2", "1.2"), ("budget.target=7", "7"), ("budget.exact=true", "0")]
)
def test_a_target_that_no_architecture_has(timing: Timing, tmp_path: Path, target: str, given: str) -> None:
    options = (*LIMITED, *([target] if target else []))
    message = refusal("search", *options, f"output={tmp_path / 'none'}")
    assert (
        f"budget.target={given} cannot be met: architectures of joint need from 1.25 to 6.5 milliseconds at "
        "budget.context=4096 with budget.phase=decode; give a number in that range."
    ) in message
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("end", ["least", "most"])
def test_the_ends_of_the_range_can_be_given_as_the_message_has_them(timing: Timing, tmp_path: Path, end: str) -> None:
    timing.factor = 1 / 3
    message = refusal("search", *LIMITED, f"output={tmp_path}")
    least, most = message.split("need from ")[1].split(" milliseconds")[0].split(" to ")
    assert search(tmp_path, f"budget.target={least if end == 'least' else most}").status == 0


def test_a_dense_phase_without_softmax_attention_is_said(timing: Timing, tmp_path: Path) -> None:
    options = ("space.operations=[linear,window]", "model.window=8", "budget.target=1.25")
    assert (
        "budget.start=most_expensive begins with linear in layers 0, 1, the slowest options at budget.context=4096"
        in search(tmp_path, *options).err
    )
    assert "begins with" not in search(tmp_path, "budget.target=3").err


def test_a_training_has_the_budget_too(timing: Timing, tmp_path: Path) -> None:
    given = ("architecture=token_hybrid", *SMALL, *SHORT, f"output={tmp_path}", "budget=latency", "budget.target=3")
    ended = nas("train", *given)
    assert ended.status == 0, ended.err
    assert (ended.run / LATENCIES).exists()


def test_searches_of_a_comparison_use_what_was_measured_before_them(timing: Timing, tmp_path: Path) -> None:
    few = (*SHORT, "learning_rates=[0.01]", "seeds=1", "workers=1", "timing=false", f"output={tmp_path}")
    own = "space.chunk_sizes=[8] space.operations=[linear,softmax] searcher.batches=1 budget.target=3"
    ended = nas("compare", *SMALL, *few, "budget=latency", f"searched=['joint {own}']", "baselines=[linear]")
    assert ended.status == 0, ended.err
    (search,) = ended.run.glob("search/*/")
    kept = read_latencies(search)
    assert kept is not None
    assert kept.layers == {layer: latency(layer) for layer in kept.layers}
