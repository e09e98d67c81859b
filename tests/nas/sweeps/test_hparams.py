"""Trials in TensorBoard."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.api_pb2 import ListSessionGroupsRequest, SessionGroup, Status
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from nas.runs.folder import Run
from nas.runs.history import history
from nas.sweeps.hparams import log_trial
from nas.sweeps.objectives import Objective
from nas.sweeps.queue import Attribute
from tests.nas.commands import Ended
from tests.nas.sweeps.sweeping import metrics


def rows(folder: Path) -> list[SessionGroup]:
    """The rows of HParams for a folder, from TensorBoard's own backend."""
    events = EventMultiplexer().AddRunsFromDirectory(str(folder))
    events.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(events, str(folder))))
    asked = ListSessionGroupsRequest(slice_size=100, allowed_statuses=Status.values())
    return list(Handler(RequestContext(), context, "", asked).run().session_groups)


def test_tensorboard_has_every_trial_once(swept: Ended) -> None:
    trials = {trial["trial"]: trial for trial in metrics(swept.run)["trials"]}
    shown = rows(swept.run)
    assert len(shown) == len(trials)
    for row in shown:
        trial = trials[int(row.name.split("trial_")[1].split("/")[0])]
        assert {name: value.number_value for name, value in row.hparams.items()} == trial["values"]
        (figure,) = row.metric_values
        assert figure.name.tag == "final/quality"
        assert figure.value == pytest.approx(trial["objectives"]["quality"])


def test_the_objectives_are_no_part_of_the_curves(swept: Ended) -> None:
    for trial in metrics(swept.run)["trials"]:
        steps = history(Run(Path(trial["run"])))
        assert steps[0]["step"] == 1
        assert not any(name.startswith("final/") for step in steps for name in step)


def trial(folder: Path, state: TrialState, values: list[float] | None) -> FrozenTrial:
    (folder / "config.yaml").touch()
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        "model.chunk_size": optuna.distributions.CategoricalDistribution([8])
    }
    return create_trial(
        state=state,
        values=values,
        params={"model.chunk_size": 8},
        distributions=distributions,
        user_attrs={Attribute.RUN: str(folder)},
    )


def test_a_trial_is_written_once_and_not_without_objectives(tmp_path: Path) -> None:
    objectives = [Objective("quality", "maximize", lambda _: 0.5)]
    run = tmp_path / "search" / "run"
    run.mkdir(parents=True)
    log_trial(tmp_path, trial(run, TrialState.PRUNED, None), objectives)
    assert not (run / "tensorboard").exists()
    for _ in range(2):
        log_trial(tmp_path, trial(run, TrialState.COMPLETE, [0.5]), objectives)
    assert len(list((run / "tensorboard").iterdir())) == 2, "event file and hparams.yaml"
    (row,) = rows(tmp_path)
    assert row.hparams["model.chunk_size"].number_value == 8


def test_a_study_names_no_folder_outside_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    objectives = [Objective("quality", "maximize", lambda _: 0.5)]
    log_trial(tmp_path / "theirs", trial(tmp_path / "mine", TrialState.COMPLETE, [0.5]), objectives)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["config.yaml"]
