"""The study of searched against hand-designed hybrids: when its claim holds, and whether its options compose."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.token_vs_hand import __main__ as command
from experiments.token_vs_hand import claim
from experiments.token_vs_hand.__main__ import options_of, settings_of
from nas.comparisons.contenders import contenders
from nas.comparisons.results import Comparison, TrainedContender
from nas.data import build_task
from tests.nas.commands import composed
from tests.nas.comparisons.examples import comparison, contender, trained

STUDY: dict[str, Any] = yaml.safe_load((Path(claim.__file__).parent / "config.yaml").read_text())


def model(name: str, at_4x: float, share: float = 1.0, noise: float = 0.01) -> TrainedContender:
    runs = (trained(seed, {1: 1.0, 4: at_4x + noise * (seed % 2)}, share) for seed in range(5))
    return contender(name, *runs, searched=name.startswith("searched"))


def beside(*others: TrainedContender, share: float = 0.1) -> Comparison:
    return comparison(model("searched_token_hybrid", 0.8, share), *others, factors=(1, 4))


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (beside(model("softmax", 0.1), model("linear", 0.0), model("interleaved_3_1", 0.5)), True),
        (beside(model("softmax", 0.1), model("interleaved_3_1", 0.8)), False),
        (beside(model("softmax", 0.1), model("interleaved_3_1", 0.9)), False),
        (beside(model("softmax", 0.1), model("random_routing", 0.9)), True),
        (beside(model("random_routing", 0.1)), False),
        (beside(model("softmax", 0.1), share=0.3), False),
    ],
    ids=["better than all", "as good as one", "worse than one", "others do not count", "no baseline", "too expensive"],
)
def test_when_the_claim_holds(found: Comparison, holds: bool) -> None:
    text = claim.claim({"planted": found}, {"planted"})
    assert text.count(f": on {int(holds)} ({'planted at 4x' if holds else 'none'})") == 3 - holds
    assert f"for the mean over these lengths, after Holm over the models: on {int(holds)} (" in text
    assert "of 0 retrieval tasks" in claim.claim({"text": found}, {"planted"})


def test_the_claim_can_hold_at_one_length_and_not_on_average() -> None:
    def one(name: str, at_4x: float, at_8x: float) -> TrainedContender:
        runs = (trained(seed, {1: 1.0, 4: at_4x, 8: at_8x + 0.01 * (seed % 2)}, 0.1) for seed in range(5))
        return contender(name, *runs, searched=name.startswith("searched"))

    found = comparison(one("searched_token_hybrid", 0.2, 0.8), one("softmax", 0.9, 0.1), factors=(1, 4, 8))
    text = claim.claim({"planted": found}, {"planted"})
    assert text.count(": on 1 (planted at 8x)") == 2
    assert "for the mean over these lengths, after Holm over the models: on 0 (none)" in text


def test_adjusting_over_all_lengths_needs_a_smaller_p() -> None:
    def one(name: str, *qualities: float) -> TrainedContender:
        lengths = (4, 8, 16, 32, 64)
        runs = (
            trained(seed, {1: 1.0, 64: qualities[seed], **dict.fromkeys(lengths[:-1], 0.5)}, 0.1) for seed in range(5)
        )
        return contender(name, *runs, searched=name.startswith("searched"))

    searched, softmax = one("searched_token_hybrid", *[0.8] * 5), one("softmax", 0.7, 0.6, 0.3, 0.5, 0.75)
    text = claim.claim({"planted": comparison(searched, softmax, factors=(1, 4, 8, 16, 32, 64))}, {"planted"})
    assert "over the models at that length: on 1 (planted at 64x)" in text
    assert "after Holm over models and lengths together: on 0 (none)" in text


def test_the_table_has_a_verdict_against_each_model() -> None:
    text = claim.claim({"planted": beside(model("softmax", 0.1), model("linear", 0.8))}, {"planted"})
    assert (
        "| softmax               | 1.000 | 1.000 (searched: within the noise, p 1.000) | 0.104 (searched: better, p <"
        in text
    )
    assert "## planted" in text


def test_the_gain_of_learnt_routing_is_tabulated() -> None:
    text = claim.claim({"planted": beside(model("softmax", 0.1), model("random_routing", 0.5))}, {"planted"})
    assert "## Learnt routing against routing without content" in text
    assert "| planted | random_routing | +0.000 (p 1.000) | +0.300 (p < 0.001) |" in text
    assert "Learnt" not in claim.claim({"planted": beside(model("softmax", 0.1))}, {"planted"})


def test_loss_on_text_is_relative_to_softmax() -> None:
    bits = {"searched_token_hybrid": 1.96, "softmax": 1.95, "linear": 1.93}
    runs = {name: [trained(seed, {1: value}, 0.2) for seed in range(2)] for name, value in bits.items()}
    every = [contender(name, *own, searched=name.startswith("searched")) for name, own in runs.items()]
    text = claim.claim({"text": comparison(*every, quality="bits_per_byte")}, set())
    assert "reaches 1.960 bits per byte at a softmax share of 0.200; softmax reaches 1.950. The difference is" in text
    assert "The difference is +0.5 %, within the allowed 1 %." in text
    without = claim.claim({"text": comparison(every[0], every[2], quality="bits_per_byte")}, set())
    assert "allowed" not in without


@pytest.mark.parametrize("reduced", [False, True], ids=["full", "reduced"])
@pytest.mark.parametrize("task", STUDY["tasks"])
def test_every_task_and_its_contenders_can_be_made(task: str, reduced: bool) -> None:
    settings = settings_of(STUDY, task, reduced)
    options = [option.strip('"') for option in options_of(STUDY, task, reduced)]
    config = composed("compare", *options, f"baselines=[{','.join(settings['baselines'])}]")
    made = build_task(config.data, 0)
    every = contenders(config, [], made.vocab_size)
    assert [one.name for one in every] == settings["baselines"]
    assert made.train_batch(0).tokens.shape[0] == config.data.batch_size
    composed("search", "+space=token_hybrid", *options)


def test_tasks_have_settings_of_their_own_where_the_study_is_not_reduced() -> None:
    own = {name: STUDY["tasks"]["text"][name] for name in ("baselines", "learning_rates")}
    assert settings_of(STUDY, "text", False).items() >= own.items()
    assert settings_of(STUDY, "text", True) == {name: STUDY["reduced"][name] for name in command.SETTINGS}
    assert settings_of(STUDY, "needle_text", False) == {name: STUDY[name] for name in command.SETTINGS}


def test_tasks_are_trained_side_by_side_and_timed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def search(folder: Path, *_: Any) -> None:
        write(folder / "search/run/metrics.json", '{"finished": true}')

    def compare(full: list[str], **_: Any) -> None:
        options = dict(option.split("=", 1) for option in full[3:])
        ran.append([Path(options["output"]).name, options["timing"], options["workers"]])
        made = Path(options.get("resume", f"{options['output']}/compare/run"))
        write(made / "config.yaml", "")
        figures = json.dumps(found.to_dict())
        if options["timing"] == "true":
            figures = figures.replace('"decode_seconds": null', '"decode_seconds": 0.01')
        write(made / "comparison.json", figures)
        write(made / "table.md", "a table")

    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    found = beside(model("softmax", 0.1))
    monkeypatch.setattr(command, "run_once", search)
    monkeypatch.setattr(command.subprocess, "run", compare)
    places = ["--output", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    monkeypatch.setattr("sys.argv", ["study", "--tasks", "planted", "mqar", "--workers", "5", *places])
    command.main()
    assert sorted(ran[:2]) == [["mqar", "false", "2"], ["planted", "false", "2"]]
    assert ran[2:] == [["planted", "true", "1"], ["mqar", "true", "1"]]
    assert ": on 2 (planted at 4x, mqar at 4x)" in (tmp_path / "results/claim.md").read_text()
    assert (tmp_path / "results/mqar.md").read_text() == "a table"
    monkeypatch.setattr("sys.argv", ["study", "--tasks", "mqar", *places])
    command.main()
    assert len(ran) == 4, "finished runs are not repeated"
    text = (tmp_path / "results/claim.md").read_text()
    assert ": on 2 (planted at 4x, mqar at 4x)" in text, "results of other tasks are kept"
