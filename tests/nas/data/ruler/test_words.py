"""Word counts: the frequencies of RULER at every length."""

from collections import Counter

import pytest

from tests.nas.data.ruler.solving import read, ruler


@pytest.mark.parametrize("factor", [1, 4])
def test_common_words_are_about_ten_times_as_frequent(factor: int) -> None:
    task = ruler("common_words", length=256)
    for context, _, answer in read(task, task.validation_batches(factor)[0]):
        counts = Counter(context)
        assert counts.total() == 256 * factor - 5
        common = {counts[word] for word in answer}
        others = {counts[f"w{word}"] for word in range(64) if f"w{word}" not in answer}
        assert len(common) == 1
        assert max(others) - min(others) <= 1
        assert 8 <= common.pop() * 60 / sum(counts[word] for word in counts if word not in answer) <= 12


def test_frequent_words_follow_a_zeta_distribution() -> None:
    task = ruler("frequent_words", length=1024)
    for context, _, answer in read(task, task.full_batch(0)):
        counts = Counter(text for text in context if text.startswith("w"))
        assert [counts[word] for word in answer] == [155, 68, 38]  # 1020 / rank ** 2 / 1.645 for ranks 2 to 4
        assert 600 < sum(text.startswith("n") for text in context) < 700
