"""Tables of results: a column for each length."""

import math

from nas.suites.result import Result, Score, Segment
from nas.suites.table import COLUMN, MEAN, page, rows


def test_tasks_of_ruler_have_a_mean_where_none_is_missing() -> None:
    def result(task: str, length: int, value: float) -> Result:
        return Result("ruler", task, length, 4, {"score": Score(value, 0.3, 4)})

    found = rows([result("a", 512, 1.0), result("a", 1024, 0.5), result("b", 1024, 0.0)])
    assert found == [
        {COLUMN: MEAN, "512": "-", "1,024": "0.250 ± 0.212"},
        {COLUMN: "a", "512": "1.000 ± 0.300", "1,024": "0.500 ± 0.300"},
        {COLUMN: "b", "512": "-", "1,024": "0.000 ± 0.300"},
    ]


def test_ranges_follow_the_scores_in_their_order() -> None:
    one = Score(0.25, math.nan, 1)

    def result(length: int, *ends: tuple[int, int]) -> Result:
        return Result(
            "identifiers", "", length, 1, {"accuracy on names": one}, {"accuracy on names": 0.01},
            {"accuracy on their tokens by distance": [Segment(start, end, one) for start, end in ends]},
        )  # fmt: skip

    results = [result(2048, (1024, 2048)), result(64, (0, 16), (32, 64))]
    labels = [row[COLUMN] for row in rows(results)]
    ranges = [f"accuracy on their tokens by distance: {range_}" for range_ in ("0 to 16", "32 to 64", "1,024 to 2,048")]
    assert labels == ["accuracy on names", "chance: accuracy on names", *ranges]
    assert rows(results)[2] == {COLUMN: ranges[0], "64": "0.250", "2,048": "-"}
    text = page({"identifiers": results}, ["this was too long"])
    assert "## Renamed identifiers" in text
    assert text.endswith("- this was too long\n")
