"""The verdict on a run: what its figures show, in sentences that follow from differences and their noise."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from nas.evaluation.metrics import HIGHER
from nas.evaluation.noise import Estimate
from nas.report.curves import sentence
from nas.report.units import number
from nas.results.controls import FOUND, HEALED, RANDOM, RANDOM_ARCHITECTURE
from nas.runs.metrics import Row

WORDS = {
    RANDOM: (
        "The routers beat",
        "The routers lose to",
        "The routers do not beat",
        "random routing at the same softmax share",
    ),
    RANDOM_ARCHITECTURE: (
        "The found architecture beats",
        "The found architecture loses to",
        "The found architecture does not beat",
        "a random architecture of at most its cost",
    ),
}
"""For each random control: how a sentence begins if the learnt row is better, worse or neither, and how it goes on."""


class Verdict(NamedTuple):
    """A verdict.

    Attributes:
        sentences: sentences to read before all figures.
        ahead: whether the learnt row is better than the random control at its cost by more than the noise.
    """

    sentences: tuple[str, ...]
    ahead: bool = False


def verdict(
    measure: str, chance: float | None, rows: Sequence[Row], sequences: int, softmax_share: float | None
) -> Verdict:
    """Return the verdict on a run, from its figures at the training length.

    Args:
        measure: quality measure; see `nas.evaluation.metrics.quality_of`.
        chance: quality of a model that ignores its input; None if it is not known.
        rows: row of the learnt routing and architecture, then the controls.
        sequences: number of validation sequences.
        softmax_share: mean softmax share during training; None if it is not known.
    """
    learnt, *controls = rows
    figures, name = learnt.at_training_length, measure.replace("_", " ")
    if not math.isfinite(figures.quality):
        return Verdict(("The training diverged, so the figures mean nothing.",))
    quality = Estimate(figures.quality, math.nan if figures.margin is None else figures.margin)
    if chance is not None and not quality.better(chance, HIGHER[measure]):
        return Verdict((_nothing_learnt(name, chance, quality, bool(controls)),))
    made = [] if chance is None else [_is_learnt(name, chance, quality)]
    random = next((row for row in controls if row.name in WORDS), None)
    if random is not None and (lead := random.at_training_length.lead) is not None:
        gain = lead if HIGHER[measure] else Estimate(-lead.mean, lead.margin)
        made += [_against_random(random.name, gain, name), *_ends(learnt, controls, softmax_share)]
        made.append(
            f"\N{PLUS-MINUS SIGN} is the 95 % interval over {sequences:,} validation sequences of one training; "
            "trainings with other seeds vary more."
        )
        return Verdict(tuple(made), gain.positive)
    return Verdict((*made, *_ends(learnt, controls, softmax_share)))


def _nothing_learnt(name: str, chance: float, quality: Estimate, searched: bool) -> str:
    result = "the routing and the architecture mean" if searched else "its figures mean"
    return (
        f"Nothing was learnt: {name} {_shown(quality)} is no better than chance, {number(chance)}. Train longer; "
        f"{result} nothing yet."
    )


def _is_learnt(name: str, chance: float, quality: Estimate) -> str:
    return f"{sentence(name)} is {_shown(quality)}; a model that ignores its input has {number(chance)}."


def _against_random(name: str, gain: Estimate, measure: str) -> str:
    """Return the comparison with the random control; a positive gain means that the learnt row is better."""
    amount = f"{number(abs(gain.mean))} \N{PLUS-MINUS SIGN} {number(gain.margin)} {measure}"
    beats, loses, misses, control = WORDS[name]
    if gain.positive:
        return f"{beats} {control} by {amount}."
    if gain.negative:
        return f"{loses} {control} by {amount}."
    return f"{misses} {control}: {'better' if gain.mean >= 0 else 'worse'} by {amount}, which is within the noise."


def _ends(learnt: Row, controls: Sequence[Row], softmax_share: float | None) -> list[str]:
    """Return what the weights of the other rows were trained for; empty without such rows."""
    if any(row.name == FOUND for row in (learnt, *controls)):
        healed = learnt.name == HEALED
        compared = healed and any(row.name == RANDOM_ARCHITECTURE for row in controls)
        made = ["This compares the found architecture before its healing."] if compared else []
        rows = "All rows but the healed model" if healed else "All rows"
        return [
            *made,
            f"{rows} share the weights of one supernet; to compare architectures, train each with nas.compare.",
        ]
    kept = next((row.name for row in controls if row.name.startswith("all ")), None)
    if kept is None or softmax_share is None:
        return []
    operation = kept.removeprefix("all ")
    return [
        f"The row {kept} is not a model trained with {operation} attention: in training its weights sent "
        f"{100 * softmax_share:.0f} % of the chunks to {operation}."
    ]


def _shown(estimate: Estimate) -> str:
    margin = "" if math.isnan(estimate.margin) else f" \N{PLUS-MINUS SIGN} {number(estimate.margin)}"
    return f"{number(estimate.mean)}{margin}"
