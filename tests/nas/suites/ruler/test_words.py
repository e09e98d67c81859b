"""The answers are the words that are counted most often in the context."""

import re
from collections import Counter
from random import Random

import pytest

from nas.suites.ruler.words import CommonWords, FrequentWords


@pytest.mark.parametrize(("length", "often", "seldom"), [(1024, 6, 1), (4096, 30, 3)])
def test_ten_words_are_common(length: int, often: int, seldom: int) -> None:
    prompt = CommonWords(length).draw(50, Random(0))
    numbered = re.findall(r"(\d+)\. (\S+)", prompt.text)
    counts = Counter(word for _, word in numbered)
    assert [int(place) for place, _ in numbered] == [*range(1, 10 * often + 50 * seldom + 1)]
    assert {word for word, count in counts.items() if count == often} == {*prompt.answers}
    assert sorted(counts.values()) == [seldom] * 50 + [often] * 10


@pytest.mark.parametrize("units", [FrequentWords.least, 300])
def test_the_three_most_frequent_words_are_unique(units: int) -> None:
    prompt = FrequentWords().draw(units, Random(0))
    coded = re.search(r"coded words\. (.*)\nQuestion", prompt.text)
    assert coded is not None
    counts = Counter(coded[1].split()).most_common()
    assert counts[0][0] == "..."
    assert [word for word, _ in counts[1:4]] == prompt.answers
    assert counts[3][1] > counts[4][1]
