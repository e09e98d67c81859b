"""The examples in the package's docstrings do what they say."""

import doctest

from nas import kernels


def test_docstring_example() -> None:
    result = doctest.testmod(kernels)
    assert result.attempted > 0
    assert result.failed == 0
