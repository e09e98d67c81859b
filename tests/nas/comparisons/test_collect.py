"""Results of a comparison, collected from its trainings."""

import json

from tests.nas.commands import Ended
from tests.nas.comparisons.comparing import comparison


def test_costs_follow_from_what_was_trained(compared: Ended) -> None:
    by_name = {contender.name: contender for contender in comparison(compared.run).contenders}
    linear, softmax, random = (by_name[name].runs[0] for name in ("linear", "softmax_rope", "random_routing"))
    assert linear.share == {1: 0.0, 2: 0.0}
    assert softmax.share == {1: 1.0, 2: 1.0}
    assert linear.kv_bytes[131072] < random.kv_bytes[131072] < softmax.kv_bytes[131072]
    assert linear.training_flops < softmax.training_flops
    tokens = json.loads(next((compared.run / "train").glob("*_linear_*/metrics.json")).read_text())["training_tokens"]
    assert 4 * 2 * 32 <= tokens <= 4 * 2 * 64
