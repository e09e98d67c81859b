"""Scores with their noise, and segments of positions."""

import json
import math

import pytest
import torch

from nas.evaluation.metrics import segment_ends
from nas.runs.folder import plain
from nas.suites.result import Result, Score, Segment, by_segment


def test_a_score_is_a_ratio_of_sums_with_the_error_of_a_ratio() -> None:
    score = Score.of(torch.tensor([1.0, 3.0, 0.0]), torch.tensor([2.0, 2.0, 0.0]), 4)
    assert (score.value, score.count) == (1.0, 4)
    assert score.error == pytest.approx(math.sqrt((1 + 1) / 2) / 2)  # of the two sequences that have units
    same = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    mean = Score.of(same, torch.ones(5), 5)
    assert mean.error == pytest.approx(same.std().item() / math.sqrt(5))
    assert math.isnan(Score.of(torch.zeros(2), torch.zeros(2), 0).value)
    assert math.isnan(Score.of(torch.ones(1), torch.ones(1), 1).error)


def test_segments_have_the_units_between_their_ends() -> None:
    place, row = torch.arange(40).repeat(2), torch.arange(2).repeat_interleave(40)
    values = torch.cat([torch.arange(40), 2 * torch.arange(40)]).float()
    segments = by_segment(values, torch.ones(80), place, row, segment_ends(40))
    assert [(one.start, one.end, one.score.count) for one in segments] == [(0, 16, 32), (16, 32, 32), (32, 40, 16)]
    assert [one.score.value for one in segments] == [7.5 * 1.5, 23.5 * 1.5, 35.5 * 1.5]
    assert by_segment(values[:3], torch.ones(3), torch.full((3,), 35), row[:3], [16, 32, 40])[0].start == 32
    assert by_segment(values[:0], values[:0], place[:0], row[:0], [16]) == []


def test_a_result_comes_back_from_json() -> None:
    score = Score(0.5, math.nan, 1)
    segments = [Segment(0, 16, score)]
    result = Result("text", "", 16, 1, {"a": score}, {"a": 0.1}, {"b": segments}, [{"c": "d"}])
    back = Result.from_json(json.loads(json.dumps(plain(result))))
    assert repr(back) == repr(result)
    with pytest.raises(ValueError, match=r"result has no suite"):
        Result.from_json({})
