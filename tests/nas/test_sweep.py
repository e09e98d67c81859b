"""`python -m nas.sweep`: what a sweep leaves behind and says, over one worker and over many."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.text import Text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor

from nas.distributed.launch import launched
from nas.errors import UserError
from nas.sweeps.page import write
from nas.sweeps.run import sweep
from nas.sweeps.summary import standing
from nas.training.module import TrainingModule, Validation
from tests.nas.commands import SEARCH, Ended, composed, contents, nas, process, refusal

RANGE = "+sweep.ranges.model.chunk_size.choices=[8,16]"
SWEEP = (
    *SEARCH,
    RANGE,
    "sweep.trials=3",
    "sweep.prune_every=2",
    "data.length_factors=[1]",
    "trainer.validate_every=50",
)
SEVERAL = ("sweep.objectives=[quality,share,parameters]", "+sweep.ranges.model.width={low: 16, high: 32, step: 16}")
QUICK = ("sweep.heartbeat=0.2", "sweep.grace=4")
"""Dead workers are found after four seconds."""
SPEED = "sweep.ranges.trainer.learning_rate"
KILLED = """
import os, signal, nas.sweep
from nas.training.module import TrainingModule
training_step, begun = TrainingModule.training_step, []
def until_killed(self, batch, index):
    begun.append(self.global_step == 0)
    if sum(begun) == 3 and self.global_step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return training_step(self, batch, index)
TrainingModule.training_step = until_killed
nas.sweep.main()
"""


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def study(run: Path) -> list[FrozenTrial]:
    (name,) = optuna.get_all_study_names(storage := f"sqlite:///{run}/study.db")
    return optuna.load_study(study_name=name, storage=storage).trials


def line(found: dict[str, Any]) -> list[str]:
    """The options of the line to run the best trial again."""
    start, *options = found["best"][0]["command"].split("nas.search ")
    assert start == "python -m "
    return shlex.split(*options)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A small sweep that went well; tests do not write to its folder."""
    ended = nas("sweep", *SWEEP, f"output={tmp_path_factory.mktemp('outputs')}")
    assert ended.status == 0, ended.err
    assert ended.err == ""
    return ended


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A small sweep with several objectives."""
    ended = nas("sweep", *SWEEP, *SEVERAL, "sweep.trials=4", f"output={tmp_path_factory.mktemp('outputs')}")
    assert ended.status == 0, ended.err
    return ended


def test_it_leaves_a_folder_with_a_run_folder_for_each_trial(swept: Ended) -> None:
    names = {"config.yaml", "metrics.json", "study.db", "report.html", "search", "tensorboard"}
    names |= {"history.png", "history.svg"}
    names |= {"parallel.png", "parallel.svg"}
    names |= {path.name for path in swept.run.glob("importances-0.*")}  # where trials differ in what came of them
    assert {path.name for path in swept.run.iterdir()} == names
    assert {path.name for path in swept.run.parent.parent.iterdir()} == {"sweep"}
    runs = sorted((swept.run / "search").iterdir())
    assert [run.name[-11:] for run in runs] == [f"_trial_000{number}" for number in (1, 2, 3)]
    assert {path.name for path in runs[0].iterdir()} >= {"metrics.json", "model.safetensors", "report.html"}
    assert (swept.run / "history.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_tell_of_every_trial(swept: Ended) -> None:
    found = metrics(swept.run)
    assert found["finished"] == found["trials_asked_for"] == 3
    assert found["objectives"] == {"quality": "maximize"}
    assert [trial["trial"] for trial in found["trials"]] == [1, 2, 3]
    for trial in found["trials"]:
        assert trial["state"] == "complete"
        values, run = trial["values"], Path(trial["run"])
        options = yaml.safe_load((run / "config.yaml").read_text())["config"]
        assert 1e-3 <= values["trainer.learning_rate"] <= 1e-2
        assert options["trainer"]["learning_rate"] == values["trainer.learning_rate"]
        assert options["model"]["chunk_size"] == values["model.chunk_size"]
        assert options["data"]["block_size"] == values["model.chunk_size"]  # which follows it
        measured = metrics(run)["routings"]["searched routing"]["1x"]["quality"]
        assert trial["objectives"] == {"quality": measured}
    assert {trial["values"]["model.chunk_size"] for trial in found["trials"]} == {8, 16}
    assert found["best"][0]["objectives"]["quality"] == max(t["objectives"]["quality"] for t in found["trials"])


def test_it_says_what_it_does_and_what_came_out(swept: Ended) -> None:
    assert swept.out.startswith(f"Sweeping token_hybrid on recall, 3 trials, run folder {swept.run}\n")
    assert (
        len(re.findall(r"^trial \d of 3  recall \d\.\d{3}  \(best recall \d\.\d{3} \(trial \d\)\)$", swept.out, re.M))
        == 3
    )
    assert "3 of 3 trials came to their end" in swept.out
    assert f"  {metrics(swept.run)['best'][0]['command']}\n" in swept.out
    told = f"Open {swept.run}/report.html, or compare with: tensorboard --logdir {swept.run}/tensorboard\n"
    assert told in swept.out


def test_its_page_leads_to_the_reports_of_its_trials_and_tells_of_a_sweep_that_was_stopped(
    swept: Ended, tmp_path: Path
) -> None:
    page = (swept.run / "report.html").read_text()
    links = re.findall(r'<a href="([^"]*)">trial', page)
    assert [(swept.run / link).read_text()[:15] for link in links] == ["<!doctype html>"] * 3
    assert metrics(swept.run)["best"][0]["command"] in html.unescape(page)
    moved = Path(shutil.copytree(swept.run, tmp_path / "moved"))
    (moved / "metrics.json").unlink()
    assert standing(moved)["trials"] == metrics(swept.run)["trials"]
    write(moved, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count('<a href="') == 3
    (moved / "study.db").unlink()
    with pytest.raises(UserError, match=r"study\.db is missing"):
        write(moved, tmp_path / "page.html")
    shutil.copy(swept.run / "metrics.json", moved)
    write(moved, tmp_path / "page.html")


def test_the_line_to_run_finds_the_same_again(swept: Ended, tmp_path: Path) -> None:
    found = metrics(swept.run)
    again = nas("search", *line(found), f"output={tmp_path}")
    assert again.status == 0, again.err
    theirs = Path(found["best"][0]["run"])
    assert contents(again.run)["model.safetensors"] == contents(theirs)["model.safetensors"]
    assert metrics(again.run)["routings"] == metrics(theirs)["routings"]


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


def test_a_finished_sweep_runs_nothing_again_and_one_with_more_trials_goes_on(swept: Ended, tmp_path: Path) -> None:
    before = metrics(swept.run)["trials"]
    resumed = nas("sweep", f"resume={swept.run}")
    assert resumed.status == 0, resumed.err
    assert "joining a study with 3 of 3 trials finished" in resumed.out
    assert metrics(swept.run)["trials"] == before
    other = nas("sweep", *SWEEP, f"output={tmp_path}")
    assert nas("sweep", *SWEEP, "sweep.trials=4", f"resume={other.run}").status == 0
    more = metrics(other.run)["trials"]
    assert [trial["values"] for trial in more[:3]] == [trial["values"] for trial in before]
    assert len(more) == 4


def test_several_objectives_end_in_a_pareto_front(front: Ended) -> None:
    found = metrics(front.run)
    assert list(found["objectives"].values()) == ["maximize", "minimize", "minimize"]
    best = {trial["trial"] for trial in found["best"]}
    for trial in found["trials"]:
        assert trial["state"] == "complete"
        others = [other["objectives"] for other in found["trials"] if other is not trial]
        assert (trial["trial"] in best) == (not any(_beats(other, trial["objectives"]) for other in others))
    assert "The Pareto front" in front.out
    assert "Pareto front: trial" in front.out
    assert front.out.count("python -m nas.search") == len(best)
    assert (front.run / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert set(found["importances"]) == {"recall", "share", "parameters"}
    for shares in found["importances"].values():
        assert set(shares) == set(found["trials"][0]["values"]) or not shares
    assert sum(found["importances"]["parameters"].values()) == pytest.approx(1)
    assert "What mattered for parameters (PED-ANOVA, 4 trials): " in front.out


def _beats(one: dict[str, float], other: dict[str, float]) -> bool:
    pairs = [(-one["quality"], -other["quality"])] + [(one[name], other[name]) for name in ("share", "parameters")]
    return all(a <= b for a, b in pairs) and one != other


def test_groups_are_swept_and_their_options_after_them(tmp_path: Path) -> None:
    ranges = (
        "+sweep.ranges.relaxation.choices=[gumbel,argmax_ste]",
        "+sweep.ranges.trainer.beta2={low: 0.8, high: 0.9}",
        "+sweep.ranges.model.routed_layers.choices=[[0],[0,1]]",
    )
    chosen = ("sweep.sampler=random", "relaxation=gumbel", "name=two words")
    ended = nas("sweep", *SWEEP, *ranges, *chosen, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    found = metrics(ended.run)
    for trial in found["trials"]:
        options = yaml.safe_load((Path(trial["run"]) / "config.yaml").read_text())["config"]
        assert options["relaxation"]["name"] == trial["values"]["relaxation"]
        assert (
            options["relaxation"]["temperature_end"]
            == {"gumbel": 0.3, "argmax_ste": 1.0}[trial["values"]["relaxation"]]
        )
        assert options["model"]["routed_layers"] == json.loads(trial["values"]["model.routed_layers"])
    assert len({trial["values"]["relaxation"] for trial in found["trials"]}) == 2
    assert composed("search", *line(found)).relaxation.name == found["best"][0]["values"]["relaxation"]


def test_a_trial_that_diverges_or_cannot_be_built_fails_with_its_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    ranges = (
        "+sweep.ranges.trainer.learning_rate.choices=[1e-3,1e30]",
        "+sweep.ranges.model.routing_heads.choices=[2,3]",
    )
    grid = (
        "sweep.sampler=Grid",
        "sweep.trials=4",
        *(f"~sweep.ranges.{name}" for name in ("trainer", "budget", "model")),
    )
    ended = nas("sweep", *SWEEP, *grid, *ranges, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    trials = metrics(ended.run)["trials"]
    assert Counter(trial["state"] for trial in trials) == {"complete": 1, "fail": 3}
    for trial in trials:
        if trial["values"]["model.routing_heads"] == 3:
            assert "model.routing_heads=3" in trial["reason"]
        elif trial["values"]["trainer.learning_rate"] == 1e30:
            assert re.search(r"training diverged: the loss is \w+ at step \d", trial["reason"])
    assert "2 trials failed: model.routing_heads=3" in ended.out
    assert "1 trial failed: training diverged" in ended.out
    assert {trial.state for trial in study(ended.run)} == {TrialState.COMPLETE, TrialState.FAIL}
    assert nas("sweep", f"resume={ended.run}").status == 0
    assert metrics(ended.run)["trials"] == trials


def test_a_sweep_of_which_every_trial_fails_says_so(tmp_path: Path) -> None:
    ranges = (f"{SPEED}.low=1e29", f"{SPEED}.high=1e30")
    ended = nas("sweep", *SWEEP, *ranges, "sweep.trials=2", f"output={tmp_path}")
    assert ended.status == 1
    assert ended.out.count("training diverged") >= 2
    assert "No trial came to its end, so there is no answer." in ended.out
    assert metrics(ended.run)["best"] == []


def test_an_error_of_the_program_fails_its_trial_and_leaves_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step = TrainingModule.training_step
    begun: list[int] = []

    def failing(self: TrainingModule, batch: Any, index: int) -> Tensor:
        begun.append(self.global_step)
        if begun.count(0) == 2:
            raise RuntimeError("out of memory\nwith details")
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", failing)
    ended = nas("sweep", *SWEEP, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    failed = metrics(ended.run)["trials"][1]
    assert failed["state"] == "fail"
    assert failed["reason"].startswith("RuntimeError: out of memory (see ")
    assert "with details" in (ended.run / "errors" / "trial_0002.txt").read_text()


def test_a_storage_that_is_lost_ends_a_sweep_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise optuna.exceptions.StorageInternalError("gone") from ConnectionError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr("nas.sweeps.trial.Watch.on_train_start", lost)
        ended = nas("sweep", *SWEEP, "sweep.trials=1", f"output={tmp_path}")
    assert ended.status == 1
    assert ended.err.startswith("error: sweep.storage=")
    assert (
        f"cannot be reached any more: the server is gone. Nothing that has ended is lost; go on with resume={ended.run}"
        in ended.err
    )
    assert nas("sweep", f"resume={ended.run}").status == 0


def worse_from_the_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the validation of the first trials give 1, of later ones 0."""
    modules: list[int] = []

    def validate(self: TrainingModule) -> Validation:
        if id(self) not in modules:
            modules.append(id(self))
            kept.append(self)
        return Validation(float(modules.index(id(self)) < 2), None)

    kept: list[TrainingModule] = []
    monkeypatch.setattr(TrainingModule, "validate", validate)


def test_trials_worse_than_the_median_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse_from_the_third(monkeypatch)
    pruner = ("sweep.pruner=median", "+sweep.pruner_options.n_startup_trials=2", "sweep.trials=4")
    ended = nas("sweep", *SWEEP, *pruner, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    trials = metrics(ended.run)["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete", "pruned", "pruned"]
    assert trials[2]["reason"] == "recall was 0.000 at step 2"
    assert "trial 3 of 4  pruned: recall was 0.000 at step 2" in ended.out
    assert [list(trial.intermediate_values) for trial in study(ended.run)] == [[2, 4], [2, 4], [2], [2]]
    assert not (Path(trials[2]["run"]) / "metrics.json").exists()


def test_nothing_is_pruned_where_none_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse_from_the_third(monkeypatch)
    ended = nas("sweep", *SWEEP, "sweep.pruner=none", f"output={tmp_path}")
    assert [trial["state"] for trial in metrics(ended.run)["trials"]] == ["complete"] * 3


def test_a_killed_sweep_goes_on_without_losing_or_repeating_a_trial(swept: Ended, tmp_path: Path) -> None:
    killed = process("-c", KILLED, *SWEEP, *QUICK, f"output={tmp_path}")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    (run,) = (tmp_path / "sweep").iterdir()
    before = study(run)
    assert [trial.state.name for trial in before] == ["COMPLETE", "COMPLETE", "RUNNING"]
    runs = contents(run / "search")
    resumed = nas("sweep", f"resume={run}")
    assert resumed.status == 0, resumed.err
    assert "joining a study with 2 of 3 trials finished" in resumed.out
    trials = metrics(run)["trials"]
    assert [trial["attempts"] for trial in trials] == [1, 1, 2]
    assert [trial["values"] for trial in trials] == [trial["values"] for trial in metrics(swept.run)["trials"]]
    assert [trial["objectives"] for trial in trials] == [trial["objectives"] for trial in metrics(swept.run)["trials"]]
    assert len(list((run / "search").iterdir())) == 3  # the third went on in its own folder, from its checkpoint
    assert any("step=000000004.ckpt" in name for name in runs)
    after = contents(run / "search")
    assert all(after[name] == runs[name] for name in runs if "trial_0003" not in name)


def interrupted_in_the_second(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    training_step: Callable[..., Tensor] = TrainingModule.training_step
    begun: list[int] = []

    def interrupted(self: TrainingModule, batch: Any, index: int) -> Tensor:
        begun.append(self.global_step)
        if begun.count(0) == 2 and self.global_step == 3:
            os.kill(os.getpid(), number)
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_gives_its_trial_back_and_goes_on(
    swept: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    interrupted_in_the_second(monkeypatch, number)
    stopped = nas("sweep", *SWEEP, f"output={tmp_path}")
    monkeypatch.undo()
    assert stopped.status == 130
    assert "trial 2 of 3  is left to be run again: stopped by the user" in stopped.out
    assert f"Go on with: resume={stopped.run}" in stopped.out
    assert [trial.state.name for trial in study(stopped.run)] == ["COMPLETE", "FAIL"]
    resumed = nas("sweep", f"resume={stopped.run}")  # at once: there is no worker to wait for
    assert resumed.status == 0, resumed.err
    trials = metrics(stopped.run)["trials"]
    assert [trial["attempts"] for trial in trials] == [1, 2, 1]
    assert [trial["objectives"] for trial in trials] == [trial["objectives"] for trial in metrics(swept.run)["trials"]]


def test_twenty_trials_and_four_workers_of_which_two_are_killed(tmp_path: Path) -> None:
    options = (*SWEEP, *QUICK, "sweep.trials=20", "sweep.workers=4")
    running = process("-m", "nas.sweep", *options, f"output={tmp_path}")
    assert running.stdout is not None
    told = [running.stdout.readline()]
    run = Path(told[0].strip().split("run folder ")[1])
    while sum(line.startswith("trial") for line in told) < 6:
        told.append(running.stdout.readline())
    running_trials = [trial for trial in study(run) if trial.state == TrialState.RUNNING]
    beats = [trial.user_attrs["beat"] for trial in running_trials if "beat" in trial.user_attrs]
    for beat in sorted(beats, key=lambda beat: int(beat.split()[1]))[:2]:  # in the midst of the youngest trials
        os.kill(int(beat.split()[0]), signal.SIGKILL)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert out.count("A worker was killed (SIGKILL)") == 2
    found, trials = metrics(run), study(run)
    assert found["finished"] == 20
    assert [trial["trial"] for trial in found["trials"]] == list(range(1, 21))
    assert {trial["state"] for trial in found["trials"]} <= {"complete", "pruned"}
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) == 20
    assert len(trials) - 20 == sum(trial.state == TrialState.FAIL for trial in trials) == 2
    retried = {trial.user_attrs["retry_of"]: trial.params for trial in trials if "retry_of" in trial.user_attrs}
    assert len(retried) == 2
    for number, params in retried.items():
        assert trials[number].params.items() <= params.items()
    assert len({trial["run"] for trial in found["trials"]}) == 20


def test_workers_stop_where_their_command_is_killed_and_it_can_be_resumed(tmp_path: Path) -> None:
    options = (*SWEEP, *QUICK, "sweep.workers=2", "sweep.trials=4", "trainer.steps=40")
    running = process("-m", "nas.sweep", *options, f"output={tmp_path}")
    assert running.stdout is not None
    run = Path(running.stdout.readline().strip().split("run folder ")[1])
    while not running.stdout.readline().startswith("trial"):
        pass
    running.kill()
    running.wait()
    until = time.monotonic() + 30
    while any(trial.state == TrialState.RUNNING for trial in study(run)):
        assert time.monotonic() < until, "workers went on without their command"
        time.sleep(0.2)
    before = {trial.number: trial.values for trial in study(run) if trial.state == TrialState.COMPLETE}
    assert len(before) < 4
    resumed = nas("sweep", f"resume={run}")
    assert resumed.status == 0, resumed.err
    trials = study(run)
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) == 4
    assert all(trials[number].values == values for number, values in before.items())


def test_the_same_command_joins_a_study_and_both_answer(tmp_path: Path) -> None:
    shared = (*SWEEP, *QUICK, f"sweep.storage=journal:{tmp_path}/study.journal", "sweep.study=ours", "sweep.trials=6")
    other = process("-m", "nas.sweep", *shared, f"output={tmp_path / 'one'}")
    ended = nas("sweep", *shared, f"output={tmp_path / 'two'}")
    out, err = other.communicate(timeout=120)
    assert other.returncode == ended.status == 0, err
    runs = [ended.run, Path(out.split("run folder ")[1].splitlines()[0])]
    assert metrics(runs[0])["trials"] == metrics(runs[1])["trials"]
    shares = [len(list((run / "search").iterdir())) for run in runs if (run / "search").exists()]
    assert sum(shares) == 6
    for run in runs:
        assert {path.name for path in (run / "tensorboard").iterdir()} == {f"trial_{n:04d}" for n in range(1, 7)}


def test_a_terminal_shows_the_trials_and_the_steps_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed("sweep", *SWEEP, "sweep.trials=2", f"output={tmp_path}")
    config.sweep.search = list(SEARCH)
    console = Console(file=open(tmp_path / "shown", "w+"), force_terminal=True, width=80)  # noqa: SIM115
    assert sweep(config, console) == 0
    console.file.seek(0)
    shown = Text.from_ansi(console.file.read()).plain
    lines = shown.splitlines()
    assert any(re.match(r"trials\s+━+.* 2/2 ", line) for line in lines)
    assert any(re.match(r"trial 2 of 2\s+━+.* 6/6 ", line) for line in lines)
    assert any(re.match(r"  best recall \d\.\d{3} \(trial \d\)", line) for line in lines)
    assert any(re.match(r"  loss \d\.\d{3}  recall \d\.\d{3}  share", line) for line in lines)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("sweep.trials=0",), "sweep.trials=0 is not allowed; give 1 or more."),
        (("sweep.workers=0",), "sweep.workers=0 is not allowed; give 1 or more."),
        (("sweep.retries=-1",), "sweep.retries=-1 is not allowed"),
        (("sweep.grace=5",), "give a heartbeat over 0 and a grace of twice that or more"),
        (("sweep.heartbeat=0",), "give a heartbeat over 0"),
        (("sweep=wide",), "sweep=wide is unknown; choose one of: default."),
        (("sweep.trails=3",), "sweep.trails is not an option; did you mean sweep.trials?"),
        (("sweep.sampler=TPO",), "sweep.sampler=TPO is unknown; choose one of: BruteForce"),
        (("+sweep.sampler_options.speed=3",), "sweep.sampler_options has speed, which TPESampler does not take"),
        (("sweep.pruner=modal",), "sweep.pruner=modal is unknown"),
        (("sweep.pruner=median", "sweep.objectives=[quality,share]"), "prunes by quality alone"),
        (("sweep.objectives=[]",), "sweep.objectives is empty; give one or more of: quality, share"),
        (("sweep.objectives=[speed]",), "sweep.objectives has speed, which is unknown; choose among: quality"),
        (("sweep.objectives=[share,share]",), "sweep.objectives has share twice"),
        (("sweep.context=100",), "sweep.context=100 is not measured; choose one of: 4096"),
        ((f"{SPEED}.low=1",), "sweep.ranges.trainer.learning_rate is empty: low=1 is over high=0.01."),
        ((f"{SPEED}.low=0",), "has log=true, which needs low over 0"),
        ((f"+{SPEED}.hgih=0",), "has hgih; a range has low, high, log and step, or choices."),
        (("+sweep.ranges.model.chunk_size.choices=[]",), "has nothing to choose from"),
        (("+sweep.ranges.trainer.speed={low: 1, high: 2}",), "has trainer.speed, which is not an option"),
        (("+sweep.ranges.seed={low: 1, high: 2}",), "has seed, which is not an option"),
        (("~sweep.ranges.trainer", "~sweep.ranges.budget", "~sweep.ranges.model"), "sweep.ranges is empty"),
        (("trainer.devices=2",), "a trial has one device"),
        (("model.chunk_size=0",), "model.chunk_size=0 is not allowed"),
        (("data.pairs=1000",), "data.pairs=1000"),
        (("sweep.storage=nonsense",), "sweep.storage=nonsense is not a storage"),
        (("sweep.storage=sqlite:////no/such/place.db",), "cannot be reached: unable to open database file"),
        (("resume=nowhere",), "resume=nowhere: there is no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_an_option_that_cannot_work(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    given = SWEEP if not any("chunk_size.choices" in option for option in options) else SEARCH
    message = refusal("sweep", *given, *options, f"output={tmp_path / 'outputs'}")
    assert told in message
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("trainer.steps=7",), "trainer.steps=7 (it has 6)"),
        ((f"{SPEED}.high=0.5",), "high: 0.5, log: True} (it has {low: 0.001, high: 0.01, log: True})"),
        ((f"{SPEED}=null",), "sweep.ranges.trainer.learning_rate=none (it has {low: 0.001"),
        (("sweep.objectives=[share]",), "objectives share (it has quality)"),
        (("space.route_grad=selected",), "space.route_grad=selected (it has full)"),
    ],
    ids=str,
)
def test_a_study_that_was_made_for_something_else(
    swept: Ended, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    shared = (f"sweep.storage=sqlite:///{swept.run}/study.db", f"output={tmp_path / 'outputs'}")
    message = refusal("sweep", *SWEEP, *shared, *options)
    assert "sweep.study=token_hybrid_recall was made for another sweep. Different: " in message
    assert told in message
    assert not (tmp_path / "outputs").exists()


def test_a_study_of_another_space_and_one_that_is_not_a_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    made = optuna.create_study(study_name="theirs", storage=storage)
    made.optimize(lambda trial: trial.suggest_float("x", 0, 1), 1)
    shared = (f"sweep.storage={storage}", f"output={tmp_path / 'outputs'}")
    assert "is a study that nas.sweep has not made" in refusal("sweep", *SWEEP, *shared, "sweep.study=theirs")
    other = optuna.create_study(study_name="other", storage=storage)
    other.set_user_attr("made for", {"space": "layer_hybrid", "objectives": ["quality"], "ranges": {}, "options": {}})
    assert "space token_hybrid (it has layer_hybrid)" in refusal("sweep", *SWEEP, *shared, "sweep.study=other")


def test_commands_started_beside_each_other_are_workers_of_a_study_and_not_processes_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under srun each would otherwise wait for the others to train with it."""
    for name, value in (("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2"), ("SLURM_NNODES", "2")):
        monkeypatch.setenv(name, value)
    assert launched().world == 2
    assert "space is missing" in refusal("sweep")
    assert launched().world == 1
