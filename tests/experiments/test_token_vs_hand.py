"""The study of searches against hand-designed hybrids: its rule on constructed results, and its options and stages."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from experiments import runs
from experiments.token_vs_hand import __main__ as command
from experiments.token_vs_hand import falsify, rule, study
from experiments.token_vs_hand.study import task_of
from nas.budget.cost import kv_bytes
from nas.comparisons.contenders import contenders
from nas.comparisons.results import Comparison, TrainedContender
from nas.data import build_task
from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from nas.runs.folder import Run
from nas.search_spaces import baselines
from nas.searchers.halving.results import Results
from tests.nas.commands import MODEL, TRAINER, composed, nas
from tests.nas.comparisons.examples import comparison, contender, trained
from tests.nas.runs.examples import metrics, row
from tests.nas.searchers.halving.test_results import result

STUDY: dict[str, Any] = yaml.safe_load((Path(rule.__file__).parent / "config.yaml").read_text())
PATTERNS = {"joint": "ls", "softmax": "ss", "linear": "ll"}
MIXERS = {"s": "softmax", "l": "linear", "w": "window"}


COST: dict[str | None, dict[str, int]] = {
    None: {"joint": (8 + 2) * 700, "layer_hybrid": (5 + 1) * 700, "token_hybrid": 1400},
    "smoke": {"joint": 8 + 2},
    "text": {"joint": (16 + 4) * 700, "layer_hybrid": (10 + 2) * 700, "token_hybrid": 1400},
}
"""Training steps of a search by form or task of the study: five placements of layer_hybrid are within the budget."""


def model(name: str, *qualities: float, share: float = 0.25, merit: float = 0.5) -> TrainedContender:
    """Return a contender with a quality for each length, 1x and 16x, that varies by 0.01 over ten seeds."""
    by_length = qualities if len(qualities) == 2 else qualities * 2
    made = [
        trained(seed, {f: q + 0.01 * (seed % 2) for f, q in zip((1, 16), by_length, strict=True)}, share)
        for seed in range(10)
    ]
    layers = [{"mixer": MIXERS[letter]} for letter in PATTERNS.get(name, name if set(name) <= set(MIXERS) else "ls")]
    placed = f"{''.join(sorted(name, reverse=True))}..{''.join(sorted(name))}" if set(name) == {"s", "l"} else None
    return dataclasses.replace(
        contender(name, *made, searched=name in STUDY["settings"]["searched"]),
        architecture={"layers": layers},
        placements=placed,
        tried={1e-3: 0.0, 2e-3: merit},
    )


def beside(*others: TrainedContender, quality: str = "recall", joint: TrainedContender | None = None) -> Comparison:
    return comparison(joint or model("joint", 0.9), *others, quality=quality, factors=(1, 16))


CHEAP = model("joint", 0.9, share=0.02)


@pytest.mark.parametrize(
    ("found", "wins", "harmed"),
    [
        (beside(model("slll", 0.5), model("llls", 0.8), model("lsls", 0.7, share=0.5)), True, False),
        (beside(model("slll", 0.9), model("lsls", 0.7, share=0.5)), False, False),
        (beside(model("slll", 0.9), model("lsls", 0.7, share=0.5), joint=CHEAP), True, False),
        (beside(model("slll", 0.5), model("lsls", 0.9, share=0.6)), True, False),
        (beside(model("slll", 0.5), model("lsls", 0.9, share=0.5)), False, False),
        (beside(model("slll", 0.5), model("lsls", 0.95, share=0.5)), False, False),
        (beside(model("slll", 0.95), model("lsls", 0.7, share=0.5)), False, True),
        (beside(model("slll", 0.5), model("lwlw", 0.95, share=0.0), joint=CHEAP), False, True),
        (beside(model("slll", 0.95), model("llls", 0.5), joint=CHEAP), False, False),
        (beside(model("slll", 0.5), model("softmax", 0.99, share=1.0), model("random_routing", 0.99)), True, False),
        (beside(model("slll", 0.5), model("linear", 0.99, share=0.0)), True, True),
        (beside(model("slll", 0.5), model("lwlw", 0.9, share=0.0)), False, False),
    ],
    ids=[
        "better than every hybrid",
        "as good as one at the same cache",
        "as good at less than half the cache",
        "as good as more than double the share, at half its cache",
        "as good as double the share, whose cache with states is less than double",
        "worse than double the share, which costs more",
        "worse than one at its cost",
        "worse than one within the budget",
        "worse than one at double the budget",
        "softmax alone is no hybrid, and controls are not by hand",
        "linear attention is at its cost",
        "a window costs less",
    ],
)
def test_when_a_search_wins_a_task_and_when_it_is_harmed(found: Comparison, wins: bool, harmed: bool) -> None:
    judged = rule.judge(found)
    assert (judged.wins, judged.harmed) == (wins, harmed)


@pytest.mark.parametrize(("at_1x", "wins"), [(1.12, True), (1.143, True), (1.146, False)])
def test_text_must_not_exceed_the_bits_of_the_reference_at_the_training_length(at_1x: float, wins: bool) -> None:
    others = [model("slll", 1.4), model("llls", 1.143, 1.5)]
    found = beside(*others, quality="bits_per_byte", joint=model("joint", at_1x, 1.0))
    assert rule.judge(found).wins is wins, "its mean over lengths is better in any case"


def test_a_search_that_learnt_nothing_wins_nothing() -> None:
    found = beside(model("slll", 0.01), joint=model("joint", 0.01, share=0.0))
    assert rule.judge(found).wins
    assert not rule.judge(dataclasses.replace(found, chance=0.0156)).wins


def test_the_target_needs_five_of_seven_tasks_with_text_and_no_harm() -> None:
    won, level, lost = (rule.judge(beside(model("slll", quality))) for quality in (0.5, 0.9, 0.95))
    tasks = list(STUDY["tasks"])
    assert len(tasks) == rule.TASKS
    assert tasks[-1] == rule.TEXT

    def target(*judged: rule.Judged) -> bool | None:
        return rule.holds(dict(zip(tasks, judged, strict=False)))

    assert target(level, level, *[won] * 5) is True
    assert target(level, level, level, *[won] * 4) is False
    assert target(*[won] * 6, level) is False, "text is not among them"
    assert target(lost, *[won] * 6) is False
    assert target(*[won] * 6) is None, "not all tasks are measured"


@pytest.mark.parametrize(
    ("joint", "expected"),
    [
        ((0.9, 0.9), "joint is better than the best placement by hand, lsll, at every length."),
        ((0.5, 0.9), "joint adds nothing beyond the best placement by hand, lsll, up to 1x; it begins to pay at 16x."),
        ((0.9, 0.5), "joint adds nothing beyond the best placement by hand, lsll, up to 16x."),
    ],
)
def test_the_report_says_from_which_length_on_content_pays(joint: tuple[float, float], expected: str) -> None:
    others = [model("slll", 0.6, merit=0.1), model("lsll", 0.6, merit=0.9), model("lsls", 0.9, share=0.5, merit=1.0)]
    text = rule.report({"planted": beside(*others, joint=model("joint", *joint))})
    assert f"- planted: {expected}" in text
    assert "**The target is open: 1 of 7 tasks are measured.**" in text
    assert "| lsls    |" in text


@pytest.mark.parametrize(
    ("name", "mode"), [*((name, None) for name in STUDY["tasks"]), ("planted", "pilot"), ("text", "smoke")]
)
def test_every_task_and_its_contenders_can_be_made(name: str, mode: str | None) -> None:
    task = task_of(STUDY, name, Path("out"), mode)
    options = [option.strip('"') for option in task.options]
    config = composed("compare", *options, f"baselines=[{','.join(task.settings.baselines)}]")
    made = build_task(config.data, 0)
    every = contenders(config, [], made.vocab_size)
    assert made.train_batch(0).tokens.shape[0] == config.data.batch_size
    each = task.settings.seeds + task.settings.tuning_seeds * len(task.settings.learning_rates)
    searches = COST.get(mode or name, COST[None])
    assert task.settings.searched.keys() == searches.keys()
    assert task.main.steps == (len(every) * config.trainer.steps + sum(searches.values())) * each
    assert task.left == task.main.steps + len(task.settings.controls) * config.trainer.steps * each
    if mode is None:
        slll = baselines.build("slll", config.model, made.vocab_size, 0.25)
        assert slll is not None
        assert 2 * config.budget.target == kv_bytes(slll, {}, config.budget.context)
        assert config.seed >= 2000
    for space, own in task.settings.searched.items() if name in ("planted", "text") else ():
        assert f"'{' '.join([space, f'name={space}', *own])}'" in task.main.options[-2]
        composed("search", f"+space={space}", *options, *own)


def test_a_smaller_form_changes_the_settings_of_a_task_too() -> None:
    smoke, own = task_of(STUDY, "text", Path("out"), "smoke", ["trainer.steps=3"]), STUDY["smoke"]
    assert STUDY["tasks"]["text"]["settings"]["learning_rates"] != own["settings"]["learning_rates"]
    assert smoke.settings.learning_rates == own["settings"]["learning_rates"]
    (joint,) = smoke.settings.searched.values()
    assert joint == [*own["settings"]["searched"]["joint"], *STUDY["tasks"]["text"]["searches"]["joint"]]
    assert smoke.settings.dense_start is False, "of the task"
    assert smoke.options[-len(own["options"]) - 1 :] == [*own["options"], "trainer.steps=3"]


def test_controls_have_the_layers_and_the_share_that_most_searches_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = [[0.0, 0.02, 0.0], [0.001, 0.04, 0.0], [0.3, 0.3, 0.0]]
    folders = []
    for seed, own in enumerate(shares):
        folders.append(tmp_path / f"search/2026-01-01_00-00-00_joint_lr0.002_seed{seed}")
        folders[-1].mkdir(parents=True)
        by_layer = {layer: [share, share] for layer, share in enumerate(own)}
        found = metrics(learnt=row(shares=by_layer, found={}, found_by_layer={}))
        (folders[-1] / "metrics.json").write_text(json.dumps(found.to_json()))
    (tmp_path / "search/2026-01-01_00-00-00_other_joint_lr0.002_seed0").mkdir()
    assert study.trained(tmp_path, contender("joint", *(trained(seed, {1: 0.5}) for seed in range(3)))) == folders
    monkeypatch.setattr(study, "load_architecture", lambda _: None)
    monkeypatch.setattr(study, "layer_shares", lambda _, measured: [sum(one) / 2 for one in measured.values()])
    layers, share = study.found_routes(folders)
    assert (layers, share) == ([1], pytest.approx(0.03))


def test_a_finished_search_by_halving_has_done_the_steps_of_all_its_candidates(tmp_path: Path) -> None:
    stage = study.Stage(tmp_path, [], steps=7 * 1400, each=1400)
    assert stage.done == 0
    for name in ("baseline", "joint", "unfinished"):
        folder = tmp_path / "compare/run/search" / name
        folder.mkdir(parents=True)
        if name != "unfinished":
            (folder / "metrics.json").write_text(json.dumps(metrics().to_json()))
    (tmp_path / "compare/run/config.yaml").touch()
    assert stage.done == 2 * 1400
    rungs = Results(Run(tmp_path / "compare/run/search/joint"))
    for number, step in ((0, 700), (1, 700), (2, 700), (1, 1400)):
        rungs.add(dataclasses.replace(result(number, 0.5), step=step))
    assert stage.done == 1400 + 2 * 700 + 1400


def test_a_task_is_compared_in_two_stages_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[dict[str, str]] = []
    found = beside(model("slll", 0.5), model("llls", 0.5))
    routes = comparison(model("random_routing", 0.4), model("strided_routing", 0.4), factors=(1, 16))

    def compare(full: list[str], environment: Any, log: Any, deadline: float | None) -> None:
        options = dict(option.split("=", 1) for option in full[3:])
        ran.append(options)
        folder = Path(options["output"]) / "compare/run"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        if deadline is None:
            of = found if "main" in options["output"] else routes
            (folder / "comparison.json").write_text(json.dumps(of.to_dict()))
            (folder / "table.md").write_text("a table")
        else:
            raise runs.DeadlinePassed

    monkeypatch.setattr(study, "execute", compare)
    monkeypatch.setattr(study, "trained", lambda *_: [])
    monkeypatch.setattr(study, "found_routes", lambda _: ([1, 2], 0.03125))
    places = ["--output", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    arguments = ["study", "--only", "planted", "--workers", "5", *places]
    monkeypatch.setattr(sys, "argv", [*arguments, "--plan"])
    command.main()
    assert not ran
    monkeypatch.setattr(sys, "argv", [*arguments, "--deadline", "9"])
    with pytest.raises(runs.DeadlinePassed):
        command.main()
    monkeypatch.setattr(sys, "argv", arguments)
    command.main()
    assert [Path(each["output"]).name for each in ran] == ["main", "main", "controls"]
    assert ran[1]["resume"] == str(tmp_path / "runs/planted/main/compare/run")
    assert ran[2].items() >= {"model.routed_layers": "[1,2]", "budget.target": "0.031250", "seeds": "10"}.items()
    assert "random_routing" in (tmp_path / "results/verdict.md").read_text()
    assert (tmp_path / "results/planted.md").read_text() == "a table"
    command.main()
    assert len(ran) == 3, "finished comparisons are not repeated"


SEARCH = (
    *("+space=token_hybrid", "data=needle", "data.form=noise", "data.length=256", "data.validation_batches=1"),
    *("data.batch_size=4", "data.length_factors=[1]", *MODEL, *TRAINER, "trainer.steps=2", "budget.target=0.5"),
)


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> list[falsify.Trained]:
    """Return a tiny searched model, and a second one that routes at random and has chunks of another size."""
    folder = nas("search", *SEARCH, f"output={tmp_path_factory.mktemp('falsify')}").run
    first = falsify.load(folder)
    layers = [layer._replace(chunk_size=16) for layer in first.model.architecture.layers]
    second = LanguageModel(first.model.architecture.with_layers(layers)).eval()
    return [first, first._replace(model=second)]


def routes(model: falsify.Trained, policy: Any) -> dict[int, Any]:
    """Return the weights [B, N, R, 2] that a policy gives the chunks of each layer."""
    found: dict[int, Any] = {}

    def recorded(layer: int, logits: Any) -> Any:
        found[layer] = policy(layer, logits)
        return found[layer]

    model.measure(model.batches(1), recorded)
    return found


def test_as_many_kept_as_other_chunks_are_left_out() -> None:
    logits = torch.randn(3, 20, 2, 2, generator=torch.Generator().manual_seed(0))
    own = learnt(0, logits)
    for part in falsify.PARTS:
        for kept in (True, False):
            left = falsify.without(part, kept, 0)(0, logits)
            gone = own.sum(-1) - left.sum(-1)
            assert torch.equal(left[gone == 0], own[gone == 0])
            assert ((own[..., 0] > 0)[gone > 0] == kept).all()
            limit = 20 if kept else (20 - own[..., 0].sum(1))
            assert torch.equal(gone.sum(1), (own[..., 0].sum(1) * part).ceil().clamp(max=torch.as_tensor(limit)))


def test_swapped_routes_are_those_of_the_other_model_on_the_same_sequences(two_seeds: list[falsify.Trained]) -> None:
    first, second = two_seeds
    batches = first.batches(1)
    same = falsify.routes_of(first, first.model, batches)
    assert all(
        torch.equal(own, given)
        for own, given in zip(routes(first, learnt).values(), routes(first, same).values(), strict=True)
    )
    given, own = routes(second, falsify.routes_of(first, second.model, batches)), routes(first, learnt)
    for layer, weights in own.items():
        assert torch.equal(given[layer][..., 0], weights[..., 0].unflatten(1, (-1, 2)).amax(2)), "16 tokens of twice 8"


def test_the_report_has_a_row_for_each_change(
    two_seeds: list[falsify.Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(falsify, "DISTRACTORS", (0, 2))
    text = falsify.report(two_seeds, 1)
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("|")}
    assert {"0", "2", "own routes", "routes of the next seed", "without 25% of kept chunks"} <= rows.keys()
    assert float(rows["without 100% of kept chunks"][0]) == 0, "nothing is kept"
    assert rows["without 100% of as many other chunks"][0] == rows["own routes"][0]
    assert "2 of 2 models have routers" in text
    assert "The share " in text


def test_it_reads_the_runs_of_the_study_and_says_which_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, folder in (([], "outputs/token_vs_hand"), (["--output", "runs"], "runs")):
        monkeypatch.setattr(sys, "argv", ["falsify", "--only", "text", *given])
        falsify.main()
        assert capsys.readouterr().out == f"text: not finished in {folder}\n"
