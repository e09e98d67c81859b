"""Random search keeps to what every searcher does."""

from tests.nas.searchers.contract import Searcher


class TestRandomSearch(Searcher):
    name = "random"
