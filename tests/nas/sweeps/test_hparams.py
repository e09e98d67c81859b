"""Trials in TensorBoard."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.nas.commands import Ended
from tests.nas.sweeps.sweeping import metrics


def test_tensorboard_has_every_trial(swept: Ended) -> None:
    for number, trial in enumerate(metrics(swept.run)["trials"], 1):
        events = EventAccumulator(str(swept.run / "tensorboard" / f"trial_{number:04d}"))
        events.Reload()
        told = events.PluginTagToContent("hparams")
        experiment = HParamsPluginData.FromString(told["_hparams_/experiment"]).experiment
        assert [metric.name.tag for metric in experiment.metric_infos] == ["quality"]
        options = HParamsPluginData.FromString(told["_hparams_/session_start_info"]).session_start_info.hparams
        assert options["trainer.learning_rate"].number_value == trial["values"]["trainer.learning_rate"]
        assert options["state"].string_value == "complete"
        (quality,) = events.Scalars("quality")
        assert quality.value == pytest.approx(trial["objectives"]["quality"])
