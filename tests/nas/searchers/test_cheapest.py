"""The cheapest of the architectures that are as good as the best one."""

import pytest

from nas.runs.candidate import Candidate
from nas.search_spaces.space import Code
from nas.searchers.cheapest import cheapest

QUALITY = {
    (0,): [0.9, 0.9, 0.9, 0.9],
    (1,): [0.9, 0.8, 0.9, 0.8],  # worse by 0.05, with a standard error of 0.029
    (2,): [0.8, 0.8, 0.8, 0.8],
    (3,): [0.9, 0.9, 0.9, 0.9],
}
COSTS = {(0,): 0.5, (1,): 0.2, (2,): 0.1, (3,): 0.5}


def found(tolerance: float, higher: bool = True) -> tuple[Code, list[Code]]:
    candidates = [Candidate(code, (), 0.0, 0.0, cost, 0.0) for code, cost in COSTS.items()]
    asked = list[Code]()

    def by_sequence(code: Code) -> list[float]:
        asked.append(code)
        return QUALITY[code] if higher else [-quality for quality in QUALITY[code]]

    return cheapest(candidates, candidates[0], tolerance, by_sequence, higher).code, asked[1::2]


@pytest.mark.parametrize("higher", [True, False])
def test_the_noise_of_paired_differences_decides(higher: bool) -> None:
    assert found(1.0, higher) == ((0,), [(2,), (1,)])
    assert found(2.0, higher) == ((1,), [(2,), (1,)])
    assert found(1e3, higher) == ((2,), [(2,)]), "the others are not asked for"
    assert found(0.0, higher)[0] == (0,)
