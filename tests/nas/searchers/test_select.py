"""`python -m nas.search searcher=...`: the weights are trained, then a searcher chooses with them."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.data import build_task
from nas.evaluation.evaluate import evaluate
from nas.evaluation.metrics import merit
from nas.models.language_model import LanguageModel
from nas.models.routing import LayerChoice
from nas.runs.folder import Run
from nas.runs.history import history
from nas.runs.model_files import load_architecture, load_weights
from nas.searchers import select as selection
from nas.searchers.candidates import Candidate
from nas.supernet.architecture_logits import TOLERANCE, ArchitectureLogits
from tests.nas.commands import SMALL, Ended, composed, contents, nas, refusal
from tests.nas.interrupting import interrupt_at
from tests.nas.processes import forked
from tests.nas.training.test_callbacks import on_a_terminal

BATCHES = 3
SPACE = ("+space=layer_hybrid", *SMALL, "model.layers=3", "budget.target=0.7")
SEARCH = (*SPACE, "searcher=evolution", "searcher.evaluations=9", "searcher.population=3", "searcher.sample=2")
SEARCH += (f"searcher.batches={BATCHES}",)


@pytest.fixture(scope="session")
def evolved(shared: Callable[..., Ended]) -> Ended:
    """A small search by evolution; tests do not write to its folder."""
    return shared("evolved", "search", *SEARCH)


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def untimed(run: Path) -> tuple[Any, Any]:
    """Candidates and metrics, without how long they took."""
    candidates, metrics = read(run, "candidates.json"), read(run, "metrics.json")
    for name in ("training_seconds", "evaluation_seconds", "tokens_per_second"):
        del metrics[name]
    for timed in (*candidates, metrics["searched"], metrics["searched"]["best"]):
        assert timed.pop("seconds") > 0
    return candidates, metrics


def test_every_evaluation_is_recorded_and_the_best_is_what_was_found(evolved: Ended) -> None:
    candidates, metrics = untimed(evolved.run)
    assert len(candidates) == 9
    assert len({tuple(one["code"]) for one in candidates}) == 9
    within = [one for one in candidates if one["cost"] <= 0.7 + TOLERANCE]
    best = max(within, key=lambda one: merit("recall", one["quality"], one["loss"]))
    assert metrics["searched"] == {
        "searcher": "evolution",
        "evaluations": 9,
        "best": best,
        "target": 0.7,
        "training_flops": None,
    }
    assert [choice["found"] for choice in metrics["choices"]] == best["options"]
    assert all(choice["probabilities"] is None for choice in metrics["choices"]), "uniform teaches logits nothing"


def test_the_architecture_that_was_found_is_left_with_the_weights_it_was_scored_with(evolved: Ended) -> None:
    best = read(evolved.run, "metrics.json")["searched"]["best"]
    architecture = load_architecture(evolved.run / "architecture.json")
    assert list(architecture.mixers) == [name.split("@")[0] for name in best["options"]]
    model = LanguageModel(architecture)
    load_weights(model, evolved.run / "model.safetensors")
    config = composed("search", *SEARCH)
    task = build_task(config.data, config.seed)
    result = evaluate(model, task.selection_batches(BATCHES), task.quality)
    assert result.quality == best["quality"]
    assert result.loss == pytest.approx(best["loss"], rel=1e-5)


def test_final_figures_are_measured_on_other_batches(evolved: Ended) -> None:
    metrics = read(evolved.run, "metrics.json")
    assert next(iter(metrics["routings"])) == "found architecture"
    assert metrics["routings"]["found architecture"]["1x"]["loss"] != metrics["searched"]["best"]["loss"]
    used = metrics["budget"]["used"]
    assert used == pytest.approx(metrics["routings"]["found architecture"]["1x"]["share"])


def test_it_tells_how_far_it_is_and_the_best_so_far(evolved: Ended) -> None:
    lines = [line for line in evolved.out.splitlines() if line.startswith("architecture ")]
    assert lines[0].startswith("architecture 1 of 9  best: recall 0.")
    assert lines[-1].startswith("architecture 9 of 9  best: recall 0.")
    assert lines[-1].endswith("  budget 0.700")
    assert evolved.err == ""


def test_a_terminal_shows_a_bar_with_the_best_so_far(evolved: Ended, tmp_path: Path) -> None:
    shown = on_a_terminal(*SEARCH, f"output={tmp_path}").splitlines()
    end = max(number for number, line in enumerate(shown) if line.startswith("architectures ━━━"))
    assert "9/9" in shown[end]
    best = read(evolved.run, "metrics.json")["searched"]["best"]
    assert shown[end + 1].split() == f"best: recall {best['quality']:.3f} cost {best['cost']:.3f} budget 0.700".split()
    assert not any(line.startswith("architecture 1") for line in shown)


def test_an_exact_budget_is_not_undercut(tmp_path: Path) -> None:
    given = (*SPACE, "space.operations=[softmax,linear]", "budget.target=0.66", "budget.exact=true", "searcher=random")
    ended = nas("search", *given, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    candidates = read(ended.run, "candidates.json")
    assert len(candidates) == 3
    assert all(one["options"].count("softmax") == 2 for one in candidates)


def test_without_routers_there_is_nobody_to_charge(tmp_path: Path) -> None:
    """The mean of softmax and linear layers is over the budget, which no training could change."""
    given = (*SPACE, "space.operations=[softmax,linear]", "budget.target=0.4", "searcher=random")
    ended = nas("search", *given, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    logged = history(Run(ended.run))
    assert {step["share"] for step in logged[1:]} == {0.5}, "behind a dense step"
    assert {step["multiplier"] for step in logged} == {0.0}
    assert len(read(ended.run, "candidates.json")) == 4, "one softmax layer at the most"


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_each_searcher_finds_an_architecture_within_the_budget(tmp_path: Path, searcher: str) -> None:
    ended = nas("search", *SPACE, f"searcher={searcher}", "searcher.evaluations=5", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    searched = read(ended.run, "metrics.json")["searched"]
    assert searched["searcher"] == searcher
    assert searched["evaluations"] == len(read(ended.run, "candidates.json")) == 5
    assert searched["best"]["cost"] <= searched["target"] + TOLERANCE


@pytest.mark.parametrize(
    ("space", "resource", "target"),
    [("chunk_size", "kv_bytes", 10500), ("joint", "kv_bytes", 9000), ("joint", "flops", 30000)],
)
def test_it_searches_other_spaces_under_other_budgets(tmp_path: Path, space: str, resource: str, target: int) -> None:
    given = (*SMALL, f"+space={space}", "space.chunk_sizes=[4,8]", f"budget={resource}")
    given += ("budget.context=64", f"budget.target={target}")
    ended = nas("search", *given, "searcher=random", "searcher.evaluations=3", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert len(read(ended.run, "candidates.json")) == 3


EARLY = (*SEARCH, "searcher.select_at=0.5")


@pytest.fixture(scope="session")
def settled(shared: Callable[..., Ended]) -> Ended:
    """A small search that selects after three of six steps; tests do not write to its folder."""
    return shared("settled", "search", *EARLY)


def test_an_architecture_is_selected_during_training_and_then_trained_alone(
    settled: Ended, evolved: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[tuple[int | None, ...]]()
    layer_choices = ArchitectureLogits.layer_choices

    def watched(*given: Any, **named: Any) -> list[LayerChoice]:
        chosen = layer_choices(*given, **named)
        made.append(tuple(choice.option for choice in chosen))
        return chosen

    monkeypatch.setattr(ArchitectureLogits, "layer_choices", watched)
    ended = nas("search", *EARLY, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    candidates, metrics = untimed(ended.run)
    best = metrics["searched"]["best"]
    assert len(candidates) == 9
    assert best == max(
        candidates, key=lambda one: merit("recall", one["quality"], one["loss"]) - 9 * (one["cost"] > 0.72)
    )
    assert f"selected after step 3 of 6, to be trained alone: {', '.join(best['options'])}" in ended.out
    assert len(made) == 5, "behind a dense step"
    assert made[2:] == [tuple(best["code"])] * 3
    assert [choice["found"] for choice in metrics["choices"]] == best["options"]
    assert load_architecture(ended.run / "architecture.json").mixers == tuple(o.split("@")[0] for o in best["options"])
    assert candidates != untimed(evolved.run)[0], "scored after half of the training"
    assert untimed(settled.run) == (candidates, metrics)


@pytest.mark.parametrize("step", [2, 4])
def test_a_search_that_selects_during_training_resumes_to_the_same(
    settled: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(step, patch)
        stopped = nas("search", *EARLY, f"output={tmp_path}")
    assert stopped.status == 130
    measured = counted(monkeypatch)
    assert nas("search", f"resume={stopped.run}").status == 0
    assert len(measured) == (9 if step == 2 else 0)
    assert untimed(stopped.run) == untimed(settled.run)
    assert contents(stopped.run)["model.safetensors"] == contents(settled.run)["model.safetensors"]


def test_architecture_logits_may_decide_during_training(tmp_path: Path) -> None:
    ended = nas("search", *SPACE, "searcher.select_at=0.5", "budget.by_layer=true", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    metrics = read(ended.run, "metrics.json")
    assert "selected after step 3 of 6" in ended.out
    assert metrics["searched"] is None
    assert all(set(choice["probabilities"].values()) == {0.0, 1.0} for choice in metrics["choices"])
    assert all(choice["probabilities"][choice["found"]] == 1.0 for choice in metrics["choices"])


def test_layers_may_be_drawn_and_routers_keep_all_until_the_selection(tmp_path: Path) -> None:
    options = ("space.operations=[linear,token_hybrid]", "budget.start=drawn", "searcher.tolerance=1000")
    given = (*EARLY, *options, "budget.target=0.1", "budget.price=0", f"output={tmp_path}")
    ended = nas("search", *given)
    assert ended.status == 0, ended.err
    candidates, metrics = untimed(ended.run)
    assert len(candidates) == 8, "whatever they cost before routers drop chunks"
    assert all(one["cost"] == pytest.approx(one["options"].count("token_hybrid@8") / 3) for one in candidates)
    assert metrics["searched"]["best"]["options"] == ["linear"] * 3, "the cheapest, with such a tolerance"
    logged = history(Run(ended.run))
    assert [step["share"] for step in logged if "share" in step] == [1.0] * 3 + [0.0] * 3
    assert metrics["budget"]["dense_steps"] == 3


def test_the_cheapest_of_equally_good_architectures_may_be_selected(evolved: Ended, tmp_path: Path) -> None:
    ended = nas("search", *SEARCH, "searcher.tolerance=1000", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    candidates, metrics = untimed(ended.run)
    assert candidates == untimed(evolved.run)[0]
    assert metrics["searched"]["best"] == min(candidates, key=lambda one: one["cost"])
    assert [choice["found"] for choice in metrics["choices"]] == metrics["searched"]["best"]["options"]


def test_learnt_logits_may_be_passed_over(tmp_path: Path) -> None:
    ended = nas("search", *SEARCH, "relaxation=gdas", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    metrics = read(ended.run, "metrics.json")
    assert metrics["searched"]["evaluations"] == 9
    assert [choice["found"] for choice in metrics["choices"]] == metrics["searched"]["best"]["options"]
    assert all(sum(choice["probabilities"].values()) == pytest.approx(1) for choice in metrics["choices"])


def test_gradient_descent_scores_nothing(tmp_path: Path) -> None:
    ended = nas("search", *SPACE, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert composed("search", *SPACE).relaxation.name == "gumbel"
    assert not (ended.run / "candidates.json").exists()
    assert read(ended.run, "metrics.json")["searched"] is None


def test_a_killed_search_goes_on_with_the_candidates_it_had(
    evolved: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        end_at_candidate(4, patch, lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert forked(lambda: nas("search", *SEARCH, f"output={tmp_path}")) == -signal.SIGKILL
    (run,) = (tmp_path / "search").iterdir()
    first = read(run, "candidates.json")
    assert len(first) == 4
    measured = counted(monkeypatch)
    time.sleep(1)  # TensorBoard orders its files by the second in which they were begun
    resumed = nas("search", f"resume={run}")
    assert resumed.status == 0, resumed.err
    assert len(measured) == 5, "none is scored again"
    assert read(run, "candidates.json")[:4] == first
    assert untimed(run) == untimed(evolved.run)
    for name in ("model.safetensors", "architecture.json"):
        assert contents(run)[name] == contents(evolved.run)[name], name


def end_at_candidate(number: int, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None]) -> None:
    """Have the next search ended once as many candidates have been measured as number."""
    measure, measured = selection.measure, list[Candidate]()

    def until_ended(*given: Any) -> Candidate:
        if len(measured) == number:
            end()
        measured.append(measure(*given))
        return measured[-1]

    monkeypatch.setattr(selection, "measure", until_ended)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    """What is measured from now on."""
    measure, measured = selection.measure, list[Candidate]()

    def counting(*given: Any) -> Candidate:
        measured.append(measure(*given))
        return measured[-1]

    monkeypatch.setattr(selection, "measure", counting)
    return measured


def test_an_interrupted_training_has_nothing_chosen_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(2, monkeypatch)
    stopped = nas("search", *SEARCH, f"output={tmp_path}")
    monkeypatch.undo()
    assert stopped.status == 130
    assert "No searcher has run yet: this is an arbitrary architecture within the budget." in stopped.out
    assert not (stopped.run / "candidates.json").exists()
    assert nas("search", f"resume={stopped.run}").status == 0
    assert len(read(stopped.run, "candidates.json")) == 9


def test_ctrl_c_while_searching_keeps_what_was_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    end_at_candidate(2, monkeypatch, interrupt)
    stopped = nas("search", *SEARCH, f"output={tmp_path}")
    assert stopped.status == 130
    assert stopped.err == "error: stopped; resume=FOLDER continues a run that had begun.\n"
    assert len(read(stopped.run, "candidates.json")) == 2


def test_a_budget_that_no_candidate_keeps_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = selection.measure

    def over(module: Any, code: Any, batches: Any, run: Any) -> Candidate:
        return replace(measure(module, code, batches, run), cost=0.8 + sum(code) / 100)

    monkeypatch.setattr(selection, "measure", over)
    ended = nas("search", *SEARCH, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert "none within the budget so far" in ended.out
    assert "No scored architecture is within the budget: this one is nearest to it." in ended.out
    metrics, candidates = read(ended.run, "metrics.json"), read(ended.run, "candidates.json")
    assert metrics["searched"]["best"] is None
    cheapest = min(candidates, key=lambda one: one["cost"])
    assert [choice["found"] for choice in metrics["choices"]] == cheapest["options"]


def test_it_says_so_where_routing_never_began(tmp_path: Path) -> None:
    dense = ("budget.dense_until=1", "budget.learnt_at=0")
    ended = nas("search", *SEARCH, *dense, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert "Routing had not begun" in ended.out
    assert not (ended.run / "candidates.json").exists()


def test_a_damaged_record_of_candidates_is_told(evolved: Ended, tmp_path: Path) -> None:
    run = Path(shutil.copytree(evolved.run, tmp_path / "run", ignore=shutil.ignore_patterns("checksums.json")))
    (run / "candidates.json").write_text("{")
    assert "candidates.json is damaged; delete it" in refusal("search", f"resume={run}")


def test_another_searcher_is_another_run(evolved: Ended) -> None:
    message = refusal("search", *SPACE, "searcher=random", f"resume={evolved.run}")
    assert "searcher.name=random (it has evolution)" in message


def test_help_lists_them() -> None:
    assert "one of: evolution, gradient, halving, optuna, pairs, random, rule" in nas("search", "--help").out


def test_the_config_of_a_run_is_restored_with_the_options_of_its_searcher(evolved: Ended) -> None:
    assert Run(evolved.run).config()["searcher"] == {
        "name": "evolution",
        "select_at": 1.0,
        "evaluations": 9,
        "batches": BATCHES,
        "tolerance": None,
        "population": 3,
        "sample": 2,
    }
