"""Optuna directly over architectures: a categorical parameter for every layer that chooses, any of its samplers."""

from random import Random

import optuna
from optuna.trial import TrialState

from nas.config import OptunaConfig
from nas.search_spaces.space import Code, Space, option_name
from nas.searchers.draws import Draws, Excess, Score, Scores
from nas.searchers.optuna_parts import silence
from nas.searchers.samplers import build_sampler

ASKS = 20
"""How often to ask the sampler before it is given an architecture: samplers like to say the same again."""


class Study(optuna.Study):
    """A study that ends by its evaluations alone: samplers that have tried everything do not end it."""

    def stop(self) -> None:
        """Samplers call it."""


def optuna_search(space: Space, score: Score, excess: Excess, settings: OptunaConfig, random: Random) -> Scores:
    """Score what the sampler suggests, each architecture once.

    A suggestion over the budget is told as pruned, which is how Optuna's samplers learn where not to look; one that was
    scored before is taken back. After `ASKS` of these in a row the sampler is given a random architecture instead, and
    learns from that.
    """
    silence()
    seed = random.randrange(2**32)
    made = optuna.create_study(direction="maximize", sampler=build_sampler(settings, space, seed))
    study = Study(made.study_name, made._storage, made.sampler, made.pruner)
    draws, scores = Draws(space, excess, random), Scores()
    while len(scores) < settings.evaluations and (asked := _ask(study, space, scores, excess, draws)):
        trial, code = asked
        scores[code] = score(code)
        _tell(study, trial, scores[code])
    return scores


def _ask(
    study: Study, space: Space, scores: Scores, excess: Excess, draws: Draws
) -> tuple[optuna.trial.Trial, Code] | None:
    """A suggestion that is within the budget and new, a random one where the sampler has none; None if none is left."""
    for _ in range(ASKS):
        trial = study.ask()
        code = space.encode(space.suggest(trial))
        if excess(code) > 0:
            study.tell(trial, state=TrialState.PRUNED)
        elif code in scores:
            study.tell(trial, state=TrialState.FAIL)
        else:
            return trial, code
    if (fallback := draws.fresh(scores)) is None:
        return None
    study.enqueue_trial(
        {f"layer_{layer}": option_name(space.options[layer][fallback[layer]]) for layer in space.choosing}
    )
    trial = study.ask()
    return trial, space.encode(space.suggest(trial))


def _tell(study: Study, trial: optuna.trial.Trial, value: float) -> None:
    if value == -float("inf"):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, value)
