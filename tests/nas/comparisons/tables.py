"""The summary of a small comparison."""

import math

from nas.comparisons.summary import Summary
from tests.nas.comparisons.examples import by_seed, comparison


def small() -> Summary:
    return Summary.of(
        comparison(
            by_seed("token_hybrid", 0.90, 0.91, 0.92, searched=True, share=0.03),
            by_seed("softmax", 0.01, 0.02, math.nan, share=1.0),
            by_seed("interleaved_3_1", 0.89, 0.93, 0.90, share=0.25),
        )
    )
