"""`python -m nas.sweep`: the files and messages of a sweep."""

import fcntl
import html
import re
import shutil
from pathlib import Path

import pytest
import yaml

from nas.distributed.launch import launched
from nas.errors import UserError
from nas.files.lock import LOCK
from nas.sweeps.page import write
from nas.sweeps.summary import sweep_metrics
from tests.nas.commands import SEARCH, Ended, nas, refusal
from tests.nas.distributed.starts import SRUN, start
from tests.nas.sweeps.sweeping import SPEED, SWEEP, metrics


def test_it_leaves_a_folder_with_a_run_folder_for_each_trial(swept: Ended) -> None:
    names = {"config.yaml", "checksums.json", "metrics.json", "study.db", "report.html", "search"}
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
        len(
            re.findall(
                r"^trial \d of 3  (?:[a-z_.]+=\S+  ){5}recall \d\.\d{3}  \(best recall \d\.\d{3} \(trial \d\)\)$",
                swept.out,
                re.M,
            )
        )
        == 3
    )
    assert "3 of 3 trials are complete" in swept.out
    assert f"  {metrics(swept.run)['best'][0]['command']}\n" in swept.out
    told = f"Open {swept.run}/report.html, or compare with: tensorboard --logdir {swept.run}\n"
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
    assert sweep_metrics(moved)["trials"] == metrics(swept.run)["trials"]
    write(moved, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count('<a href="') == 3
    (moved / "study.db").unlink()
    with pytest.raises(UserError, match=r"study\.db is missing"):
        write(moved, tmp_path / "page.html")
    shutil.copy(swept.run / "metrics.json", moved)
    write(moved, tmp_path / "page.html")


def test_a_finished_sweep_runs_nothing_again_and_one_with_more_trials_goes_on(swept: Ended, tmp_path: Path) -> None:
    run = Path(shutil.copytree(swept.run, tmp_path / swept.run.name))
    before = metrics(run)["trials"]
    resumed = nas("sweep", f"resume={run}")
    assert resumed.status == 0, resumed.err
    assert "joining a study with 3 of 3 trials finished" in resumed.out
    assert metrics(run)["trials"] == before
    assert nas("sweep", *SWEEP, "sweep.trials=4", f"resume={run}").status == 0
    more = metrics(run)["trials"]
    assert more[:3] == before
    assert len(more) == 4


def test_a_folder_in_use_is_refused_before_its_study_is_made(swept: Ended, tmp_path: Path) -> None:
    given_up = shutil.ignore_patterns("search", "metrics.json", "study.db")
    run = Path(shutil.copytree(swept.run, tmp_path / "run", ignore=given_up))
    with (run / LOCK).open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is in use by another process" in refusal("sweep", f"resume={run}")
    assert not (run / "study.db").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("sweep.trials=0",), "sweep.trials=0 is not allowed; give 1 or more."),
        (("sweep.workers=0",), "sweep.workers=0 is not allowed; give 1 or more."),
        (("sweep.retries=-1",), "sweep.retries=-1 is not allowed"),
        (("sweep.grace=5",), "give a heartbeat over 0 and a grace of twice that or more"),
        (("sweep.heartbeat=0",), "sweep.heartbeat=0.0 is not allowed; give a number over 0."),
        (("sweep=wide",), "sweep=wide is unknown; choose one of: default."),
        (("sweep.trails=3",), "sweep.trails is not an option; did you mean sweep.trials?"),
        (("sweep.sampler=TPO",), "sweep.sampler=TPO is unknown; choose one of: BruteForce"),
        (("+sweep.sampler_options.speed=3",), "sweep.sampler_options has speed, which TPESampler does not take"),
        (("sweep.pruner=modal",), "sweep.pruner=modal is unknown"),
        (("sweep.pruner=median", "sweep.objectives=[quality,share]"), "prunes by quality alone"),
        (("sweep.objectives=[]",), "sweep.objectives is empty; give one or more of: quality, share"),
        (("sweep.objectives=[speed]",), "sweep.objectives has speed, which is unknown; choose from: quality"),
        (("sweep.objectives=[share,share]",), "sweep.objectives has share twice; give each objective once."),
        (("sweep.context=100",), "sweep.context=100 is not measured; choose one of: 4096"),
        ((f"{SPEED}.low=1",), "learning_rate is empty: low=1 is over high=0.01; give low of at most high."),
        ((f"{SPEED}.low=0",), "has 0, which learning_rate may not be; give a number over 0."),
        ((f"+{SPEED}.hgih=0",), "has hgih; a range has low, high, log and step, or choices."),
        (("+sweep.ranges.model.chunk_size.choices=[]",), "choices=[] is not a list of values"),
        (("+sweep.ranges.trainer.speed={low: 1, high: 2}",), "has trainer.speed, which is not an option"),
        (("+sweep.ranges.seed={low: 1, high: 2}",), "has seed, which is not an option"),
        (("~sweep.ranges.trainer", "~sweep.ranges.budget", "~sweep.ranges.model"), "sweep.ranges is empty"),
        (("trainer.devices=2",), "a trial has one device"),
        (("model.chunk_size=0",), "model.chunk_size=0 is not allowed"),
        (("data.pairs=1000",), "data.pairs=1000"),
        (("sweep.storage=nonsense",), "sweep.storage=nonsense is not a storage"),
        (("sweep.storage=sqlite:////no/such/place.db",), "cannot be reached: unable to open database file"),
        (("resume=nowhere",), "nowhere: there is no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_an_option_that_cannot_work(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    given = SWEEP if not any("chunk_size.choices" in option for option in options) else SEARCH
    message = refusal("sweep", *given, *options, f"output={tmp_path / 'outputs'}")
    assert told in message
    assert not (tmp_path / "outputs").exists()


def test_commands_started_beside_each_other_are_workers_of_a_study_and_not_processes_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise each process under srun would wait for the others to train together."""
    start(monkeypatch, SRUN)
    assert launched().world == 8
    assert "space is missing" in refusal("sweep")
    assert launched().world == 1
