"""`python -m nas.compare`, from options to tables, on models so small that a training takes a second."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nas.comparisons.finish import CSV, MARKDOWN, TABLE, TIMINGS
from nas.comparisons.jobs import TUNING
from nas.comparisons.page import write
from nas.comparisons.results import RESULTS, Comparison
from nas.errors import UserError
from tests.nas.commands import SEARCH, SMALL, Ended, contents, nas, process, refusal

FEW = ("seeds=2", "workers=1", "context=32", "learning_rates=[0.001,0.01]")


def comparison(run: Path) -> Comparison:
    return Comparison.from_dict(json.loads((run / RESULTS).read_text()))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a search."""
    ended = nas("search", *SEARCH, "budget.target=0.3", f"output={tmp_path_factory.mktemp('searched')}")
    assert ended.status == 0, ended.err
    return ended.run


@pytest.fixture(scope="module")
def compared(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """What was searched beside three hybrids designed by hand."""
    baselines = "baselines=[linear,softmax_rope,random_routing]"
    output = f"output={tmp_path_factory.mktemp('compared')}"
    ended = nas("compare", f"runs=[{searched}]", baselines, *FEW, "trainer.steps=4", "seed=7", output)
    assert ended.status == 0, ended.err
    return ended


def test_everything_is_trained_by_the_recipe_of_the_run(compared: Ended, searched: Path) -> None:
    found = comparison(compared.run)
    names = ["searched_token_hybrid", "linear", "softmax_rope", "random_routing"]
    assert [entrant.name for entrant in found.entrants] == names
    assert [entrant.searched for entrant in found.entrants] == [True, False, False, False]
    assert (found.task, found.quality, found.length, found.factors) == ("recall", "recall", 64, [1, 2])
    for entrant in found.entrants:
        assert entrant.seeds == (7, 8)
        assert set(entrant.tried) == {0.001, 0.01}
        assert entrant.tried[entrant.learning_rate] == max(entrant.tried.values())
        assert all(run.prefill_seconds and run.decode_seconds for run in entrant.runs)
    parameters = [run.parameters for entrant in found.entrants for run in entrant.runs]
    assert max(parameters) <= 1.01 * min(parameters)
    own = yaml.safe_load((searched / "config.yaml").read_text())["config"]
    trainings = [yaml.safe_load(p.read_text())["config"] for p in (compared.run / "train").glob("*/config.yaml")]
    assert len(trainings) == 4 * 2 + 4 * 2
    for training in trainings:
        lengths = [1] if training["seed"] >= TUNING else [1, 2]
        assert training["data"] == own["data"] | {"length_factors": lengths}, "which no option gave here"
        assert training["model"] == own["model"]
        assert training["trainer"]["steps"] == 4, "as given, whatever the run had"
        routers = training["trainer"]["router_learning_rate"] / own["trainer"]["router_learning_rate"]
        weights = training["trainer"]["learning_rate"] / own["trainer"]["learning_rate"]
        assert routers == pytest.approx(weights)


def test_costs_follow_from_what_was_trained(compared: Ended) -> None:
    by_name = {entrant.name: entrant for entrant in comparison(compared.run).entrants}
    linear, softmax, random = (by_name[name].runs[0] for name in ("linear", "softmax_rope", "random_routing"))
    assert linear.share == {1: 0.0, 2: 0.0}
    assert softmax.share == {1: 1.0, 2: 1.0}
    assert linear.kv_bytes[131072] < random.kv_bytes[131072] < softmax.kv_bytes[131072]
    assert linear.training_flops < softmax.training_flops
    tokens = json.loads(next((compared.run / "train").glob("*_linear_*/metrics.json")).read_text())["training_tokens"]
    assert 4 * 2 * 32 <= tokens <= 4 * 2 * 64


def test_the_answer_is_told_written_and_drawn(compared: Ended) -> None:
    names = {path.name for path in compared.run.iterdir()}
    assert {RESULTS, TIMINGS, MARKDOWN, CSV, TABLE, "config.yaml", "train", "contenders"} <= names
    assert {"quality_by_length.png", "quality_by_length.svg", "quality_by_share.png"} <= names
    assert "searched_token_hybrid" in compared.out
    assert "trainings, run folder" in compared.out
    markdown = (compared.run / MARKDOWN).read_text()
    for heading in ("## Quality", "## Cost of inference", "## Pairwise tests", "## In words", "## Notes"):
        assert heading in markdown
    assert "learning rate, 0.01, was best for" in markdown or "learning rate, 0.001, was best for" in markdown


def test_its_page_leads_to_the_reports_of_its_trainings(compared: Ended) -> None:
    links = re.findall(r'<a href="([^"]*)">seed', (compared.run / "report.html").read_text())
    assert len(links) == 4 * 2
    assert all((compared.run / link).is_file() for link in links)
    assert f"Open {compared.run}/report.html; every figure: " in compared.out


def test_the_page_of_a_comparison_that_is_not_finished_tells_what_was_trained(compared: Ended, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(compared.run, tmp_path / "copy"))
    (copy / RESULTS).unlink()
    next((copy / "train").glob("*/metrics.json")).unlink()
    trainings = len(list((copy / "train").iterdir()))
    write(copy, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert f"Not finished: {trainings - 1} trainings done so far" in page
    assert page.count("<td>finished</td>") == trainings - 1
    assert page.count('<a href="copy/train/') == trainings
    shutil.rmtree(copy / "train")
    write(copy, tmp_path / "page.html")
    assert "Not finished: 0 trainings done so far" in (tmp_path / "page.html").read_text()
    (copy / RESULTS).write_text("{")
    with pytest.raises(UserError, match=r"comparison\.json is damaged"):
        write(copy, tmp_path / "page.html")


def test_what_is_done_is_not_done_again(compared: Ended, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(compared.run, tmp_path / compared.run.name))
    before = contents(copy / "train")
    again = nas("compare", f"resume={copy}")
    assert again.status == 0, again.err
    assert contents(copy / "train") == before
    assert comparison(copy) == comparison(compared.run)


def test_one_seed_is_allowed_and_no_test_is_claimed(tmp_path: Path) -> None:
    options = (
        "baselines=[linear,softmax]",
        "seeds=1",
        "workers=1",
        "context=32",
        "learning_rates=[0.01]",
        "trainer.steps=2",
    )
    ended = nas("compare", *SMALL, *options, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert "One seed: no difference was tested." in ended.out
    assert "one seed: not tested" in (ended.run / MARKDOWN).read_text()
    assert comparison(ended.run).entrants[0].tried == {}


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc, to know the workers")
@pytest.mark.parametrize("victim", ["command", "worker"])
def test_a_killed_comparison_goes_on_where_it_was(tmp_path: Path, victim: str) -> None:
    options = ["baselines=[linear,softmax]", "seeds=2", "context=32", "learning_rates=[0.01]", "workers=2"]
    given = [*SMALL, *options, "trainer.steps=150", f"output={tmp_path}"]
    command = process("-m", "nas.compare", *given)
    wait_for(lambda: sum(1 for _ in tmp_path.glob("compare/*/train/*/checkpoints/step=*.ckpt")) == 2)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 2
    if victim == "command":
        command.kill()
        command.communicate()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    else:
        os.kill(workers[0], signal.SIGKILL)
        out, _ = command.communicate(timeout=120)
        assert "A worker was killed (SIGKILL) in " in out
        assert "3 of 4 trainings are done. Go on with: resume=" in out
        assert command.returncode == 1
    (run,) = (tmp_path / "compare").iterdir()
    ended = nas("compare", f"resume={run}")
    assert ended.status == 0, ended.err
    trainings = [path.name.split("_", 2)[2] for path in (run / "train").iterdir()]
    assert sorted(trainings) == sorted({*trainings}), "each went on in its own folder"
    assert len(trainings) == 4
    assert [entrant.seeds for entrant in comparison(run).entrants] == [(0, 1)] * 2


def test_ctrl_c_saves_what_was_learnt(tmp_path: Path) -> None:
    options = ["baselines=[linear,softmax]", "seeds=1", "workers=1", "context=32", "learning_rates=[0.01]"]
    command = process("-m", "nas.compare", *SMALL, *options, "trainer.steps=5000", f"output={tmp_path}")
    wait_for(lambda: any(tmp_path.glob("compare/*/train/*/checkpoints/step=*.ckpt")))
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert "0 of 2 trainings are done. Go on with: resume=" in out
    assert err == ""


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("runs=[nowhere]",), "runs has nowhere, which is no folder; give run folders of: nas.search, nas.train."),
        (
            ("baselines=[softmax,sofmax]",),
            "baselines has sofmax, which is unknown; choose from: softmax, softmax_rope,",
        ),
        (("baselines=[softmax]",), "are 1 to compare; give two or more."),
        (("seeds=0",), "seeds=0 is not allowed; give 1 or more."),
        (("workers=0",), "workers=0 is not allowed; give auto, or 1 or more."),
        (("workers=many",), "workers=many is not allowed; give auto, or 1 or more."),
        (("learning_rates=[]",), "learning_rates=[] is not allowed; give one or more numbers over 0."),
        (("learning_rates=[0.1,-1]",), "learning_rates=[0.1, -1.0] is not allowed"),
        (("baselines=[softmax,interleaved_3_1]",), "baselines has interleaved_3_1: "),
        (("budget.target=2",), "budget.target=2 is no share of the chunks; give a number from 0 to 1."),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert message in refusal("compare", *SMALL, *options, f"output={tmp_path / 'outputs'}")
    assert not (tmp_path / "outputs").exists()


def test_runs_that_do_not_go_together_are_refused(searched: Path, tmp_path: Path) -> None:
    other = nas("search", *SEARCH, "budget.target=0.3", "data.queries=5", f"output={tmp_path}").run
    message = refusal("compare", f"runs=[{searched},{other}]", f"output={tmp_path}")
    assert f"runs {searched} and {other} have different data (data.queries=4 and 5)" in message
    message = refusal("compare", f"runs=[{searched}]", "data=text", f"output={tmp_path}")
    assert "searched_token_hybrid is for 24 tokens, but data=text has 256" in message
    broken = Path(shutil.copytree(searched, tmp_path / "broken"))
    (broken / "metrics.json").write_text("{")
    message = refusal("compare", f"runs=[{broken}]", f"output={tmp_path}")
    assert "is not finished or is damaged; finish it with resume=" in message
    (broken / "config.yaml").unlink()
    assert "config.yaml is missing or damaged" in refusal("compare", f"runs=[{broken}]", f"output={tmp_path}")


def test_seeds_can_be_added_and_models_timed_later(tmp_path: Path) -> None:
    options = ("baselines=[linear,softmax]", "workers=1", "context=32", "learning_rates=[0.01]", "trainer.steps=2")
    given = (*SMALL, *options, f"output={tmp_path}")
    first = nas("compare", *given, "seeds=1", "timing=false")
    assert first.status == 0, first.err
    assert not (first.run / TIMINGS).exists()
    assert all(run.decode_seconds is None for entrant in comparison(first.run).entrants for run in entrant.runs)
    before = contents(first.run / "train")
    more = nas("compare", *given, "seeds=2", f"resume={first.run}")
    assert more.status == 0, more.err
    assert before.items() <= contents(first.run / "train").items()
    assert [entrant.seeds for entrant in comparison(first.run).entrants] == [(0, 1)] * 2
    assert all(run.decode_seconds for entrant in comparison(first.run).entrants for run in entrant.runs)
