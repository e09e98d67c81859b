"""`python -m nas.train`: one architecture from scratch, by name or as a search has found it."""

import json
from pathlib import Path

import pytest

from nas.runs.model_files import load_architecture
from tests.nas.architectures import small
from tests.nas.commands import SMALL, Ended, contents, nas, refusal


def metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.parametrize("name", ["softmax", "linear", "token_hybrid"])
def test_an_architecture_by_name(tmp_path: Path, name: str) -> None:
    ended = nas("train", f"architecture={name}", *SMALL, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert ended.run.parent == tmp_path / "train"
    assert load_architecture(ended.run / "architecture.json").mixers == (name, name)
    assert len(metrics(ended.run)["routings"]) == (4 if name == "token_hybrid" else 1)
    if name != "token_hybrid":
        assert "The trained model" in ended.out
        assert "share" not in next(line for line in ended.out.splitlines() if line.startswith("step 3"))


@pytest.mark.parametrize(
    ("name", "mixers"),
    [
        ("interleaved_3_1", ("linear", "linear", "linear", "softmax")),
        ("nats_l", ("linear", "linear", "linear", "token_hybrid")),
        ("linear-softmax-window-linear", ("linear", "softmax", "window", "linear")),
        ("softmax_window", ("window",) * 4),
    ],
)
def test_a_hybrid_designed_by_hand(tmp_path: Path, name: str, mixers: tuple[str, ...]) -> None:
    ended = nas(
        "train", f"architecture={name}", *SMALL, "model.layers=4", "data.length_factors=[1]", f"output={tmp_path}"
    )
    assert ended.status == 0, ended.err
    assert load_architecture(ended.run / "architecture.json").mixers == mixers


@pytest.mark.parametrize(("routing", "off"), [("random", 0.05), ("strided", 1e-6)])
def test_a_given_routing_keeps_its_share_whatever_is_in_the_chunks(tmp_path: Path, routing: str, off: float) -> None:
    options = ("budget.target=0.5", "data.validation_batches=20", "trainer.steps=3", "budget.tighten_over=0")
    ended = nas("train", f"architecture={routing}_routing", *SMALL, *options, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    found = load_architecture(ended.run / "architecture.json")
    assert (found.given_routing, found.given_share) == (routing, 0.5)
    own = metrics(ended.run)["routings"][f"{routing} routing"]["1x"]
    assert own["share"] == pytest.approx(0.5, abs=off)
    assert own["found_by_layer"]["0"]["precision"] < 1


def test_softmax_attention_with_rotary_positions(tmp_path: Path) -> None:
    ended = nas("train", "architecture=softmax_rope", *SMALL, "data.length_factors=[1]", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert load_architecture(ended.run / "architecture.json").rope_base == 10000


def test_an_architecture_that_was_found(search: Ended, tmp_path: Path) -> None:
    found = search.run / "architecture.json"
    ended = nas("train", f"architecture={found}", *SMALL, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert load_architecture(ended.run / "architecture.json") == load_architecture(found)
    assert contents(ended.run)["model.safetensors"] == contents(search.run)["model.safetensors"], "the same recipe"


def test_it_can_be_resumed(tmp_path: Path) -> None:
    ended = nas("train", "architecture=linear", *SMALL, f"output={tmp_path}")
    weights = contents(ended.run)["model.safetensors"]
    assert nas("train", f"resume={ended.run}").status == 0
    assert contents(ended.run)["model.safetensors"] == weights


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(small().to_json())
    (tmp_path / "none.json").write_text("{}")
    strided = small("token_hybrid", vocab_size=24, given_routing="strided", given_share=0.25)
    (tmp_path / "strided.json").write_text(strided.to_json())
    for options, told in (
        (
            (),
            "architecture is missing; give a file or one of: softmax, softmax_rope, softmax_log_n, softmax_window, ",
        ),
        (("architecture=hyena",), "architecture=hyena is neither a file nor a name; give"),
        ((f"architecture={tmp_path / 'other.json'}",), "has 11 token ids, but data=recall has 24; give"),
        ((f"architecture={tmp_path / 'none.json'}",), "is not an architecture: missing fields"),
        ((f"architecture={tmp_path}",), "cannot be read"),
        (
            ("architecture=random_routing", "budget=kv_bytes", "budget.target=100000"),
            "architecture=random_routing sends a given share of the chunks to softmax, but budget=kv_bytes; give",
        ),
        (
            (f"architecture={tmp_path / 'strided.json'}", "budget.target=0.5"),
            "sends 0.25 of the chunks to softmax, but budget.target=0.5; give budget.target=0.25.",
        ),
        (("architecture=softmax", "model.softmax_heads=3"), "softmax_heads=3"),
        (("architecture=interleaved_3_1",), "but model.layers=2; give at least 4."),
        (("architecture=linear-softmax-linear",), "has 3 layers, but model.layers=2; give equally many."),
    ):
        assert told in refusal("train", *SMALL, *options, f"output={tmp_path / 'outputs'}")
    assert not (tmp_path / "outputs").exists()
