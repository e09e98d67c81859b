"""`python -m nas.compare`, from options to tables, on models so small that a training takes a second."""

import json
import re
import shutil
from pathlib import Path
from statistics import fmean

import pytest
import yaml

from nas.comparisons.finish import MARKDOWN
from nas.comparisons.jobs import TUNING
from nas.comparisons.page import write
from nas.comparisons.results import RESULTS
from nas.errors import UserError
from nas.files.checksums import CHECKSUMS
from tests.nas.commands import SEARCH, SHORT, SMALL, Ended, contents, nas, refusal
from tests.nas.comparisons.comparing import compare, comparison

NEW = ("tuning_factors", "tuned_by", "added_rates")
"""Options that comparisons of earlier versions did not have."""


def test_everything_is_trained_by_the_recipe_of_the_run(compared: Ended, searched: Path) -> None:
    found = comparison(compared.run)
    names = ["searched_token_hybrid", "linear", "softmax_rope", "random_routing"]
    assert [contender.name for contender in found.contenders] == names
    assert [contender.searched for contender in found.contenders] == [True, False, False, False]
    assert (found.task, found.quality, found.length, found.factors) == ("recall", "recall", 64, [1, 2])
    for contender in found.contenders:
        assert contender.seeds == (7, 8)
        assert set(contender.tried) == {0.001, 0.01}
        assert contender.tried[contender.learning_rate] == max(contender.tried.values())
        assert all(run.prefill_seconds and run.decode_seconds for run in contender.runs)
    parameters = [run.parameters for contender in found.contenders for run in contender.runs]
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
    (copy / CHECKSUMS).unlink()
    (copy / RESULTS).write_text("{")
    with pytest.raises(UserError, match=r"comparison\.json is damaged"):
        write(copy, tmp_path / "page.html")


def test_what_is_done_is_not_done_again(compared: Ended, tmp_path: Path) -> None:
    """Also by an earlier version, without the options `NEW`, which wrote one merit of a tuning training."""
    copy = Path(shutil.copytree(compared.run, tmp_path / compared.run.name, ignore=shutil.ignore_patterns(CHECKSUMS)))
    described = yaml.safe_load((copy / "config.yaml").read_text())
    for option in NEW:
        del described["config"][option]
    (copy / "config.yaml").write_text(yaml.safe_dump(described))
    for selection in (copy / "train").glob("*/selection.json"):
        selection.write_text(json.dumps({"merit": fmean(json.loads(selection.read_text())["merits"].values())}))
    before = contents(copy / "train")
    again = compare(f"resume={copy}")
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
    ended = compare(*SMALL, *options, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert "One seed: no difference was tested." in ended.out
    assert "one seed: not tested" in (ended.run / MARKDOWN).read_text()
    assert comparison(ended.run).contenders[0].tried == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("runs=[nowhere]",), "nowhere, which is not a folder; give run folders of: nas.search, nas.train."),
        (
            ("baselines=[softmax,sofmax]",),
            "baselines has sofmax, which is unknown; choose from: softmax, softmax_rope,",
        ),
        (("baselines=[softmax]",), "are 1 to compare; give two or more."),
        (("seeds=0",), "seeds=0 is not allowed; give 1 or more."),
        (("workers=0",), "workers=0 is not allowed; give auto, or 1 or more."),
        (("workers=many",), "workers=many is not allowed; give auto, or 1 or more."),
        (("tuned_by=best",), "tuned_by=best is unknown; choose one of: worst, mean."),
        (("learning_rates=[]",), "learning_rates=[] is not allowed; give one or more numbers over 0."),
        (("learning_rates=[0.1,-1]",), "learning_rates=[0.1, -1.0] is not allowed"),
        (("baselines=[softmax,interleaved_3_1]",), "baselines has interleaved_3_1: "),
        (("budget.target=2",), "budget.target=2 is not a softmax share; give a number from 0 to 1."),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert message in refusal("compare", *SMALL, *options, f"output={tmp_path / 'outputs'}")
    assert not (tmp_path / "outputs").exists()


def test_spaces_are_searched_anew_with_each_seed(tmp_path: Path) -> None:
    few = (*SHORT, "learning_rates=[0.01]", "seeds=1", "workers=1", "timing=false", "budget.target=0.5")
    own = "space.chunk_sizes=[8] space.operations=[window,token_hybrid] searcher.batches=1 budget=kv_bytes"
    given = f"searched=[layer_hybrid,'joint name=mine retrain=true budget.target=9e4 {own}']"
    ended = compare(*SMALL, *few, given, "baselines=[linear]", "seed=5", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    found = comparison(ended.run)
    assert [(one.name, one.searched) for one in found.contenders] == [
        *(("searched_layer_hybrid", True), ("mine", True), ("linear", False))
    ]
    at = "_lr0.01_seed5"
    made = {path.name.split("_", 2)[2]: path for path in ended.run.glob("[st]*/*/")}
    assert sorted(made) == [*(f"linear{at}", f"mine{at}", f"mine{at}_search", f"searched_layer_hybrid{at}")]
    for one, search in zip(found.contenders[:2], (f"searched_layer_hybrid{at}", f"mine{at}_search"), strict=True):
        written = json.loads((made[search] / "architecture.json").read_text())["architecture"]
        assert list(one.runs[0].layers) == written["layers"], "each seed has its own answer"
        config = yaml.safe_load((made[search] / "config.yaml").read_text())["config"]
        assert (config["seed"], config["trainer"]["steps"], config["data"]["pairs"]) == (5, 2, 4)
        assert config["budget"]["target"] == (0.5 if search.startswith("searched") else 9e4)
    answer, linear = (one.runs[0] for one in found.contenders[1:])
    assert answer.parameters == pytest.approx(linear.parameters, rel=0.01), "its MLPs are as wide as it needs"
    assert answer.training_flops > 2 * linear.training_flops, "its search counts too"
    assert "Layers that searches found" in ended.out
    page = (ended.run / "report.html").read_text()
    assert re.findall(r'<a href="(search|train)/[^"]*">seed', page) == ["search", "train", "train"]
    lost = made["mine_lr0.01_seed5"]
    (lost / CHECKSUMS).unlink()
    (lost / "metrics.json").unlink()
    again = compare(f"resume={ended.run}")
    assert "4 trainings of 2 steps and up to 256 tokens each, 3 of them done" in again.out
    assert (lost / "metrics.json").exists()
    assert {path.name.split("_", 2)[2] for path in ended.run.glob("[st]*/*/")} == made.keys()
    assert comparison(ended.run).contenders[1].patterns == found.contenders[1].patterns


@pytest.mark.parametrize("options", [(), ("seeds=2", "learning_rates=[0.01]")], ids=str)
def test_nothing_is_started_before_the_user_says_what_to_compare(options: tuple[str, ...], tmp_path: Path) -> None:
    message = refusal("compare", *SMALL, *options, f"output={tmp_path / 'outputs'}")
    number, least = (8, "") if options else (44, "at least ")
    assert message.startswith("error: runs, searched and baselines are missing, and nothing was started. ")
    contenders = "softmax, linear, random_routing, strided_routing would be compared on data=recall"
    assert f"{contenders}: {least}{number} trainings of 6 steps and up to 768 tokens each, about " in message
    assert re.search(
        r"of training on this machine( with \d+ workers)?, estimated from [123] training steps? of softmax\.", message
    )
    assert f"A comparison of N models trains N * {number // 4} times; smaller seeds=" in message
    baselines = "baselines=[softmax,linear,random_routing,strided_routing]"
    assert f"Give runs=[outputs/search/RUN], searched=[joint], {baselines}, or s" in message
    assert not (tmp_path / "outputs").exists()


def test_runs_that_do_not_go_together_are_refused(searched: Path, tmp_path: Path) -> None:
    other = nas("search", *SEARCH, "budget.target=0.3", "data.queries=5", f"output={tmp_path}").run
    message = refusal("compare", f"runs=[{searched},{other}]", f"output={tmp_path}")
    assert f"runs {searched} and {other} have different data (data.queries=4 and 5)" in message
    message = refusal("compare", f"runs=[{searched}]", "data=text", f"output={tmp_path}")
    assert "searched_token_hybrid is for 24 tokens, but data=text has 256" in message
    broken = Path(shutil.copytree(searched, tmp_path / "broken", ignore=shutil.ignore_patterns("checksums.json")))
    (broken / "metrics.json").write_text("{")
    message = refusal("compare", f"runs=[{broken}]", f"output={tmp_path}")
    assert "is not finished or is damaged; finish it with resume=" in message
    (broken / "config.yaml").unlink()
    assert "config.yaml is missing or damaged" in refusal("compare", f"runs=[{broken}]", f"output={tmp_path}")
