"""Optuna over architectures keeps to what every searcher does, and learns."""

from tests.nas.searchers.contract import LearningSearcher


class TestOptunaSearch(LearningSearcher):
    name = "optuna"
