"""What the problems have in common: the vocabulary, and draws in which the first differs."""

import torch

from nas.data.ruler.problem import Vocabulary, differing, shuffled


def test_a_vocabulary_names_its_tokens() -> None:
    vocabulary = Vocabulary(words=2, noise=2)
    symbols = list("0123456789abcdef")
    assert [vocabulary.text(token) for token in range(vocabulary.size)] == [*"=?!", *symbols, "w0", "w1", "n0", "n1"]
    assert vocabulary.text(int(vocabulary.symbol(torch.tensor(10)))) == "a"
    assert vocabulary.text(int(vocabulary.word(torch.tensor(1)))) == "w1"
    noise = vocabulary.draw_noise(9, 9, torch.Generator().manual_seed(0))
    assert {vocabulary.text(token) for token in noise.flatten().tolist()} == {"n0", "n1"}


def test_the_first_of_a_row_differs_from_all_others() -> None:
    drawn = differing(2, (500, 4, 2), torch.Generator().manual_seed(0))
    assert not (drawn[:, 1:] == drawn[:, :1]).all(-1).any()
    assert len(drawn[:, 0].unique(dim=0)) == len(drawn[:, 1].unique(dim=0)) == 4


def test_rows_are_shuffled_differently() -> None:
    rows = shuffled(torch.arange(50).expand(2, -1), torch.Generator().manual_seed(0))
    assert not torch.equal(rows[0], rows[1])
    assert torch.equal(rows.sort(1).values, torch.arange(50).expand(2, -1))
