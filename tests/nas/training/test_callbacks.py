"""What is seen while a model trains: the progress bar on a terminal, and TensorBoard."""

import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lightning import Trainer
from rich.console import Console
from rich.text import Text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor

from nas.data.batch import Scored
from nas.runs.folder import Run
from nas.runs.history import history
from nas.training.callbacks import StopOnDivergence
from nas.training.module import TrainingModule
from nas.workflows.search import search
from tests.nas.commands import SEARCH, Ended, composed, nas
from tests.nas.training.test_module import made


def on_a_terminal(*options: str) -> str:
    """What a search shows on a terminal 80 columns wide, without its colours."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    assert search(composed("search", *options), console) == 0
    return Text.from_ansi(shown.getvalue()).plain


def test_a_terminal_shows_a_bar_with_the_figures(tmp_path: Path) -> None:
    shown = on_a_terminal(*SEARCH, f"output={tmp_path}")
    lines = shown.splitlines()
    end = max(number for number, line in enumerate(lines) if line.startswith("training ━━━"))
    assert "6/6" in lines[end]
    words = lines[end + 1].split()
    figures = dict(zip(words[::2], words[1::2], strict=True))
    assert list(figures) == ["loss", "recall", "share", "budget", "λ"]
    (run,) = (tmp_path / "search").iterdir()
    final = history(Run(run))[-1]
    for name, shown_as in (("loss", "loss"), ("recall", "recall"), ("share", "share"), ("multiplier", "λ")):
        assert float(figures[shown_as]) == pytest.approx(final[name], abs=5e-4)
    assert "step 3 of 6" not in shown


@pytest.mark.parametrize("part", ["loss", "weight"])
def test_divergence_stops_the_training_and_keeps_the_last_checkpoint_with_finite_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    step = TrainingModule.training_step

    def diverging(self: TrainingModule, batch: Scored, index: int) -> Tensor:
        loss = step(self, batch, index)
        if self.global_step == 3:
            if part == "loss":
                loss = loss * math.nan
                self.latest["loss"] = loss.detach()
            else:
                self.model.norm.weight.data[0] = math.inf
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", diverging)
    every = ("trainer.log_every=2", "trainer.checkpoint_every=2")
    ended = nas("search", *SEARCH, *every, f"output={tmp_path}")
    assert ended.status == 1
    assert "The training diverged by step 4 of 6" in ended.out
    (kept,) = (ended.run / "checkpoints").iterdir()
    assert kept.name == "step=000000002.ckpt"
    monkeypatch.undo()
    assert nas("search", f"resume={ended.run}").status == 0


@pytest.mark.parametrize(
    ("scaled", "losses", "stopped"),
    [
        (False, [1.0, math.nan, 1.0], 2),
        (True, [1.0, math.inf, math.nan, 1.0, math.nan, math.inf], None),
        (True, [1.0, math.inf, 1.0, math.nan, math.inf, math.nan, 1.0], 6),
        (True, [1.0, None, 1.0], 2),
    ],
    ids=["no scaler", "scaler", "overflow that lasts", "weight"],
)
def test_a_gradient_scaler_may_skip_steps(scaled: bool, losses: list[float | None], stopped: int | None) -> None:
    """A loss of None is a finite one, with a weight that is not finite."""
    stop = StopOnDivergence(10, scaled)
    module = made("cpu")
    trainer = SimpleNamespace(global_step=0, should_stop=False)
    trainer.strategy = SimpleNamespace(reduce_boolean_decision=lambda decision: decision)
    for loss in losses:
        trainer.global_step += 1
        module.latest["loss"] = 1.0 if loss is None else loss
        if loss is None:
            module.model.norm.weight.data[0] = math.inf
        kept = stop.state_dict()
        stop = StopOnDivergence(10, scaled)  # as when a run is resumed
        if kept:
            stop.load_state_dict(kept)
        stop.on_train_batch_end(cast(Trainer, trainer), module, None, None, 0)
        if trainer.should_stop:
            break
    assert module.diverged_at == stopped


def test_a_terminal_shows_bits_per_byte_without_a_budget_where_nothing_is_routed(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(bytes(range(1, 128)) * 80)
    options = [option for option in SEARCH if not option.startswith("data.")]
    text = ("data=text", "data.length=64", "data.length_factors=[1]", "model.routed_layers=[]")
    shown = on_a_terminal(*options, *text, f"data.path={tmp_path / 'text'}", f"output={tmp_path}")
    assert "bits/byte" in shown
    assert "budget" not in shown


def accumulated(run: Path) -> Any:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return events


def test_tensorboard_has_the_curves(search: Ended) -> None:
    events = accumulated(search.run)
    for tag in ("loss", "recall", "share", "budget", "multiplier", "learning_rate"):
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4, 5, 6], tag
    assert [event.step for event in events.Scalars("validation_recall")] == [3, 6]


def test_tensorboard_tells_how_planted_chunks_are_found_once_routers_choose(tmp_path: Path) -> None:
    as_at_first = nas("search", *SEARCH, "trainer.router_learning_rate=0", f"output={tmp_path}")
    events = accumulated(as_at_first.run)
    found = {name: events.Scalars(f"validation_planted_{name}") for name in ("precision", "recall")}
    assert [[event.step for event in events] for events in found.values()] == [[3, 6], [3, 6]]
    assert {event.value for event in found["recall"]} == {1}, "every chunk is kept"
    assert all(0 < event.value < 1 for event in found["precision"])


def test_precision_is_not_told_where_nothing_is_kept(tmp_path: Path) -> None:
    nothing = ("budget.start=cheapest", "trainer.router_learning_rate=0")
    ended = nas("search", *SEARCH, *nothing, f"output={tmp_path}")
    events = accumulated(ended.run)
    assert {event.value for event in events.Scalars("validation_planted_recall")} == {0}
    assert "validation_planted_precision" not in events.Tags()["scalars"]


def test_nothing_is_told_of_planted_chunks_before_routing_begins(tmp_path: Path) -> None:
    ended = nas("search", *SEARCH, "budget.dense_until=1", "budget.learnt_at=0", f"output={tmp_path}")
    told = set(accumulated(ended.run).Tags()["scalars"])
    assert "validation_recall" in told
    assert not {name for name in told if "planted" in name}


def test_tensorboard_has_the_routing_as_images(search: Ended) -> None:
    images = accumulated(search.run).Images("routing")
    assert [image.step for image in images] == [3, 6]
    assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)


def test_tensorboard_has_the_options_and_what_came_of_them(search: Ended) -> None:
    events = accumulated(search.run)
    told = events.PluginTagToContent("hparams")
    experiment = HParamsPluginData.FromString(told["_hparams_/experiment"]).experiment
    assert [metric.name.tag for metric in experiment.metric_infos] == ["final/recall"]
    options = HParamsPluginData.FromString(told["_hparams_/session_start_info"]).session_start_info.hparams
    assert options["model.width"].string_value == "16"
    assert options["space.name"].string_value == "token_hybrid"
    (final,) = events.Scalars("final/recall")
    quality = json.loads((search.run / "metrics.json").read_text())["routings"]["searched routing"]["1x"]["quality"]
    assert final.step == 6
    assert final.value == pytest.approx(quality)
    assert "final/recall" not in history(Run(search.run))[-1]


def test_scalars_are_written_as_often_as_asked(tmp_path: Path) -> None:
    ended = nas("search", *SEARCH, "trainer.log_every=4", "trainer.validate_every=5", f"output={tmp_path}")
    events = accumulated(ended.run)
    assert [event.step for event in events.Scalars("loss")] == [4, 6]
    assert [event.step for event in events.Scalars("validation_recall")] == [5, 6]
