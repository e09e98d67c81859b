"""The budget of a config: what no architecture can meet is refused."""

from pathlib import Path

import pytest

from nas.budget.cost import UNITS
from tests.nas.commands import SMALL, refusal

LAYERS = "+space=layer_hybrid"
TOKENS = "+space=token_hybrid"


@pytest.mark.parametrize(
    ("options", "given", "advice"),
    [
        ((TOKENS, "budget.resource=seconds"), "budget.resource=seconds is unknown", ", ".join(UNITS)),
        ((TOKENS, "budget=kv_bytes", "budget.context=0"), "budget.context=0 is not allowed", "give 1 or more"),
        ((TOKENS, "budget.start=middle"), "budget.start=middle is unknown", "most_expensive, both, cheapest"),
        ((TOKENS, "budget.start=dearest"), "budget.start=dearest is unknown", "choose one of: most_expensive, both"),
        ((TOKENS, "budget.target=0"), "budget.target=0", "give a number over 0 and at most 1"),
        ((TOKENS, "budget.target=1.2"), "budget.target=1.2", "give a number over 0 and at most 1"),
        (
            (LAYERS, "budget=kv_bytes", "budget.target=1000", "budget.context=1000"),
            "budget.target=1000 cannot be met: architectures of layer_hybrid need from {least} to {most} bytes of "
            "keys, values and states at budget.context=1000",
            "give {least} or more",
        ),
        (
            (LAYERS, "budget=flops", "budget.target=1e9", "budget.exact=true"),
            "budget.target=1000000000 cannot be met",
            "FLOPs per token at budget.context=4096; give a number in that range",
        ),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else "",
)
def test_a_budget_that_cannot_be_met(tmp_path: Path, options: tuple[str, ...], given: str, advice: str) -> None:
    # Of the small model: a state of 8 x 8 twice and a decay for each of two heads, and 2 x (8 + 8) numbers a key.
    figures = {"least": 4 * 4 * (2 * 128 + 2), "most": 4 * (2 * 32 * 1000 + 4 * (2 * 128 + 2))}
    message = refusal("search", *SMALL, *options, f"output={tmp_path / 'none'}")
    assert given.format(**figures) in message
    assert advice.format(**figures) in message
    assert not (tmp_path / "none").exists()
