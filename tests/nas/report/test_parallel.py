"""Parallel coordinates: a line for each, the best above the others."""

from nas.report.parallel import Dimension, parallel
from tests.nas.report.test_charts import NAMES, compiled, rows


def test_parallel_lines_are_drawn_from_worst_to_best() -> None:
    dimensions = [Dimension(name, [0.0, 0.5, 1.0], ["x", "y", "z"], {0.0: "low", 1.0: "high"}) for name in NAMES]
    made = compiled(parallel(["best", "worst", "middle"], [4, 0, 2], dimensions, ["1", "2", "3", "4", "5"]))
    named = [row["name"] for row in rows(made) if "name" in row]
    assert list(dict.fromkeys(named)) == ["worst", "middle", "best"]
    assert {row["tick"] for row in rows(made) if "tick" in row} == {"low", "high"}
    assert [row["shown"] for row in rows(made) if row.get("name") == "worst"] == ["y"] * 3
