"""Styles of contenders: a colour and a marker for each, filled markers for searched ones."""

from nas.comparisons.figures.contender_style import quality_title, styles
from nas.comparisons.summary import Summary
from tests.nas.comparisons.examples import recall, text


def test_contenders_have_distinct_styles_and_searched_ones_are_filled() -> None:
    summary = Summary.of(recall())
    given = styles(summary)
    assert len({(style.colour, style.marker) for style in given}) == len(summary.rows)
    assert [style.searched for style in given] == [row["searched"] for row in summary.rows]
    for style in given:
        assert style.face == (style.colour if style.searched else "white")
    assert min(style.width for style in given if style.searched) > max(
        style.width for style in given if not style.searched
    )


def test_the_axis_of_quality_says_which_way_is_better() -> None:
    assert quality_title(Summary.of(recall())) == "recall (higher is better)"
    assert quality_title(Summary.of(text())) == "bits per byte (lower is better)"
