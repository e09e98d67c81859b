"""The verdict on a sweep."""

from pathlib import Path

from nas.sweeps.verdict import verdict
from tests.nas.commands import Ended
from tests.nas.sweeps.sweeping import metrics
from tests.nas.sweeps.test_page import metrics as written
from tests.nas.sweeps.test_page import trial

NOISE = "Each trial is a single training, so small differences may be noise."


def test_it_names_the_best_trial_and_what_its_model_learnt(swept: Ended) -> None:
    sentences = verdict(metrics(swept.run), swept.run)
    assert sentences[0].startswith("Trial ")
    assert any(sentence.startswith("Nothing was learnt: ") for sentence in sentences)
    assert sentences[-1] == NOISE
    for sentence in sentences:
        assert sentence in swept.out.replace("\n", " ")


def test_a_sweep_without_complete_trials_has_none(tmp_path: Path) -> None:
    assert verdict(written(best=[]), tmp_path) == []


def test_a_trial_without_metrics_has_its_objectives_alone(tmp_path: Path) -> None:
    one = trial(1, 0.5, 0.1)
    found = verdict(written(one, best=[one]), tmp_path)
    assert [sentence for sentence in found if "cache" in sentence] == []
    assert found[-1] == NOISE
