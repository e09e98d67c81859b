"""Results of a comparison, collected from its trainings."""

import json
from pathlib import Path

import pytest

from nas.budget.cost import training_flops_per_token
from nas.comparisons.collect import _training_flops
from tests.nas.commands import Ended
from tests.nas.comparisons.comparing import comparison
from tests.nas.comparisons.test_jobs import made
from tests.nas.runs import examples


def test_costs_follow_from_what_was_trained(compared: Ended) -> None:
    by_name = {contender.name: contender for contender in comparison(compared.run).contenders}
    linear, softmax, random = (by_name[name].runs[0] for name in ("linear", "softmax_rope", "random_routing"))
    assert linear.share == {1: 0.0, 2: 0.0}
    assert softmax.share == {1: 1.0, 2: 1.0}
    assert linear.kv_bytes[131072] < random.kv_bytes[131072] < softmax.kv_bytes[131072]
    assert linear.training_flops < softmax.training_flops
    tokens = json.loads(next((compared.run / "train").glob("*_linear_*/metrics.json")).read_text())["training_tokens"]
    assert 4 * 2 * 32 <= tokens <= 4 * 2 * 64


def test_longer_sequences_at_the_end_cost_more(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01]")
    (contender, *_), config, metrics = jobs.contenders, jobs.config, examples.metrics(learnt=examples.row())
    architecture = contender.architecture
    config.trainer.longer_from, config.trainer.longer = 0.75, 4
    found = _training_flops(config, metrics, [], architecture, contender, searches=False)
    short, long = (training_flops_per_token(architecture, {}, factor * config.data.length) for factor in (1, 4))
    assert short < long
    assert found == pytest.approx(metrics.training_tokens * (0.75 * short + 0.25 * long))
