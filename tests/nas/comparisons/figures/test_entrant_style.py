"""How entrants look: each in its colour and mark, searched ones filled."""

from nas.comparisons.figures.entrant_style import looks, quality_title
from nas.comparisons.summary import Answer
from tests.nas.comparisons.examples import recall, text


def test_entrants_are_told_apart_and_searched_ones_are_filled() -> None:
    answer = Answer.of(recall())
    given = looks(answer)
    assert len({(look.colour, look.marker) for look in given}) == len(answer.rows)
    assert [look.searched for look in given] == [row["searched"] for row in answer.rows]
    for look in given:
        assert look.face == (look.colour if look.searched else "white")
    assert min(look.width for look in given if look.searched) > max(look.width for look in given if not look.searched)


def test_the_axis_of_quality_says_which_way_is_better() -> None:
    assert quality_title(Answer.of(recall())) == "recall (higher is better)"
    assert quality_title(Answer.of(text())) == "bits per byte (lower is better)"
