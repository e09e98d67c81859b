"""The report of a large run: larger than the largest model and the longest training of the presets."""

import random

from nas.evaluation.routing_map import Reader, RoutingMap, Snapshot
from nas.report.data import ReportData
from nas.report.diagram import by_hand

LAYERS = HEADS = 12
CHUNKS, CHUNK_SIZE = 256, 16
STEPS, SNAPSHOTS = 20_000, 64
OPTIONS = ("softmax", "linear", *(f"token_hybrid@{size}" for size in (16, 32, 64, 128, 256)))
OFTEN = ("loss", "recall", "share", "target", "multiplier")


def large() -> ReportData:
    """Return a report of twelve layers with twelve heads, 4,096 tokens, 64 snapshots and 20,000 logged steps."""
    draws = random.Random(0)
    heads, chunks = range(HEADS), range(CHUNKS)
    weights = {layer: [[draws.random() for _ in chunks] for _ in heads] for layer in range(LAYERS)}
    readers = {
        layer: [[[Reader(draws.randrange(CHUNKS * CHUNK_SIZE), draws.random())] * 3 for _ in chunks] for _ in heads]
        for layer in range(LAYERS)
    }
    snapshots = [
        Snapshot(
            step, CHUNK_SIZE, {layer: [bytes(draws.choices(range(254), k=CHUNKS)) for _ in heads] for layer in weights}
        )
        for step in range(SNAPSHOTS)
    ]
    planted = [draws.random() < 0.1 for _ in chunks]
    routing = RoutingMap([" token"] * (CHUNKS * CHUNK_SIZE), CHUNK_SIZE, weights, weights, planted, {}, readers)
    return ReportData(
        title="token_hybrid on recall",
        summary=[("recall", "0.991"), ("softmax share", "0.034 (budget 0.035)")],
        quality="recall",
        comparison=[{"model": "searched", "recall": "0.9911"}, {"model": "all linear", "recall": "0.6422"}],
        history=_history(draws),
        routing=routing,
        notes=[],
        command="python -m nas.search +space=token_hybrid seed=3",
        snapshots=snapshots,
        stacks=by_hand(LAYERS),
    )


def _history(draws: random.Random) -> list[dict[str, float]]:
    """Return the logged steps: some values at every step, others at every hundredth."""
    seldom = [f"probability/layer_{layer}/{option}" for layer in range(LAYERS) for option in OPTIONS]
    seldom += ["validation_recall", "validation_planted_precision", "validation_planted_recall"]
    return [
        {"step": step} | {key: draws.random() for key in (*OFTEN, *(seldom if step % 100 == 0 else ()))}
        for step in range(STEPS)
    ]
