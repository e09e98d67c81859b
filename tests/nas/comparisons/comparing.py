"""Small comparisons that the command runs."""

import json
from functools import partial
from pathlib import Path

import pytest

from nas.comparisons.results import RESULTS, Comparison
from nas.evaluation.latency import decode_seconds_per_token
from tests.nas.commands import Ended, nas

FEW = (
    *("seeds=2", "workers=1", "context=32", "learning_rates=[0.001,0.01]", "added_rates=0"),
    *("tuning_seeds=1", "tuning_factors=[1,2]"),
)


def comparison(run: Path) -> Comparison:
    return Comparison.from_dict(json.loads((run / RESULTS).read_text()))


def compare(*options: str) -> Ended:
    """Run ``python -m nas.compare`` in this process, and time it on few tokens."""
    few = partial(decode_seconds_per_token, tokens=2, repeats=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.comparisons.finish.decode_seconds_per_token", few)
        return nas("compare", *options)
