"""The table and the charts of the curve."""

from dataclasses import replace

from nas.shares.figure import charts, table
from nas.shares.points import Point

TRAINED = Point(
    run="/runs/2026-01-01_00-00-00_mine",
    weights="a",
    sequences="hash",
    tokens=512,
    allowed=None,
    random=False,
    threshold=None,
    calibrated=None,
    share=0.125,
    shares={0: [0.125]},
    kv_bytes=1536,
    quality=2.0,
    margin=0.25,
    loss=1.4,
    by_position=None,
    by_sequence=[1.75, 2.25],
)
OTHER = replace(TRAINED, run="/runs/2026-01-02_00-00-00_other", quality=1.5, margin=None, by_sequence=[1.5])
POINTS = [
    TRAINED,
    replace(OTHER, by_sequence=[1.25, 1.75]),
    replace(TRAINED, allowed=0.1, quality=2.1, by_sequence=[1.85, 2.35]),
    replace(TRAINED, allowed=0.1, random=True, quality=2.5, by_sequence=[2.0, 3.0]),
    replace(TRAINED, allowed=0.5, share=0.5, kv_bytes=4096, quality=1.9, by_sequence=[1.65, 2.15]),
]


def test_rows_tell_the_difference_over_the_same_sequences() -> None:
    rows = table(POINTS, "bits_per_byte")
    assert [row["model"] for row in rows] == ["as trained", "other", "share=0.1", "random, share=0.1", "share=0.5"]
    assert rows[0] == {
        "model": "as trained",
        "kept": "0.125",
        "cache": "1.50 KiB",
        "bits per byte": "2.000 ± 0.250",
        "against trained": "-",
    }
    assert [row["against trained"] for row in rows[2:4]] == ["+0.100 ± 0.000", "+0.500 ± 3.177"]


def test_runs_of_one_name_have_date_and_time() -> None:
    twice = [TRAINED, OTHER, replace(OTHER, run="/runs/2026-01-03_00-00-00_other")]
    assert [row["model"] for row in table([*map(_alone, twice)], "recall")] == [
        "as trained",
        "2026-01-02_00-00-00_other",
        "2026-01-03_00-00-00_other",
    ]


def _alone(point: Point) -> Point:
    return replace(point, by_sequence=[point.quality])


def test_charts_have_a_point_for_each_row_and_a_line_for_each_routing() -> None:
    by_share, by_cache = charts(POINTS, "bits_per_byte")
    assert (by_share.title, by_cache.title) == ("Bits per byte by share", "Bits per byte by cache size")
    for chart, field in ((by_share, "share"), (by_cache, "kv_bytes")):
        assert chart.spec is not None
        values = [row for data in chart.spec["data"] for row in data.get("values", [])]
        marks = [row for row in values if "kind" in row]
        assert [row["x"] for row in marks] == [getattr(point, field) for point in POINTS]
        kinds = ["as trained", "other", "thresholds moved", "random routes", "thresholds moved"]
        assert [row["kind"] for row in marks] == kinds
        assert len([row for row in values if "order" in row]) == 2
