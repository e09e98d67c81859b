"""What the end of a run writes."""

import json
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from nas.data import build_task
from nas.results.write import log_hyperparameters, write_run_report
from nas.runs.folder import Run
from nas.runs.metrics import read_metrics
from tests.nas.commands import SEARCH, Ended, composed


def test_hyperparameters_are_options_beside_the_final_quality(search: Ended, tmp_path: Path) -> None:
    metrics = read_metrics(search.run)
    log_hyperparameters(TensorBoardLogger(str(tmp_path), name="", version="board"), Run(search.run), metrics)
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    told = events.PluginTagToContent("hparams")
    options = HParamsPluginData.FromString(told["_hparams_/session_start_info"]).session_start_info.hparams
    assert options["data.pairs"].string_value == "4"
    experiment = HParamsPluginData.FromString(told["_hparams_/experiment"]).experiment
    assert [metric.name.tag for metric in experiment.metric_infos] == ["final/recall"]
    (quality,) = events.Scalars("final/recall")
    assert quality.value == pytest.approx(metrics.learnt.at_training_length.quality)


def test_the_report_has_the_curves_and_notes_of_the_run(finished: Path) -> None:
    run = Run(finished)
    (finished / "report.html").unlink()
    config = composed("search", *SEARCH)
    write_run_report(run, read_metrics(finished), None, build_task(config.data, config.seed))
    page = (finished / "report.html").read_text()
    assert 'id="chart-loss"' in page
    assert json.loads((finished / "metrics.json").read_text())["quality"] in page
