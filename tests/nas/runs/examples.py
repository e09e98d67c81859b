"""Metrics as a finished run has them."""

from typing import Any

from nas.evaluation.noise import Estimate
from nas.evaluation.planted import Found
from nas.runs.metrics import BudgetUse, Choice, Cost, Figures, Metrics, RetrievingLayer, Row

CONTEXTS = (4096, 32768, 131072)


def figures(quality: float = 0.5, **changed: Any) -> Figures:
    """Of a model whose layer 1 routes with two heads."""
    given: dict[str, Any] = {
        "quality": quality,
        "loss": 1 - quality / 4,
        "share": 0.125,
        "shares": {1: [0.25, 0.0]},
        "found": {1: [Found(0.75, 0.5), Found(0.25, 0.125)]},
        "found_by_layer": {1: Found(0.75, 0.5)},
    }
    return Figures(**(given | changed))


def row(name: str = "searched routing", quality: float = 0.5, **changed: Any) -> Row:
    """At the training length and at four times that."""
    return Row(name, {factor: figures(quality / factor, **changed) for factor in (1, 4)})


def metrics(**changed: Any) -> Metrics:
    """Of a search with one control."""
    given: dict[str, Any] = {
        "finished": True,
        "step": 100,
        "training_seconds": 2.5,
        "training_tokens": 6400,
        "tokens_per_second": 3000.0,
        "quality": "recall",
        "learnt": row(),
        "chance": 0.0625,
        "controls": (row("all linear", 0.1, share=0.0, margin=0.01, lead=Estimate(0.4, 0.02)),),
        "verdict": ("Recall is 0.500 ± 0.010.",),
        "ahead": True,
        "retrieving_layer": RetrievingLayer(1, 0.75, 0.5),
        "cost": Cost(1234, dict.fromkeys(CONTEXTS, 2**20), dict.fromkeys(CONTEXTS, 5678)),
        "choices": (Choice(0, "linear"), Choice(1, "token_hybrid@8", {"linear": 0.25, "token_hybrid@8": 0.75})),
        "budget": BudgetUse("softmax_share", 0.07, False, 0.0625, 0.0, 1.0, 0.5, 21),
        "evaluation_seconds": 0.25,
    }
    return Metrics(**(given | changed))
