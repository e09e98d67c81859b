"""Optuna directly over architectures: a categorical parameter for every searchable layer, with any sampler."""

from random import Random

import optuna
from optuna.trial import TrialState

from nas.config import OptunaConfig
from nas.search_spaces.space import Code, Space, option_name
from nas.searchers.draws import Draws, Excess, Score, Scores
from nas.searchers.optuna_parts import silence
from nas.searchers.samplers import build_sampler

SUGGESTIONS = 20
"""Unusable suggestions in a row after which the sampler gets a random architecture, since samplers repeat."""


class Study(optuna.Study):
    """A study that samplers cannot end: it ends after its evaluations only."""

    def stop(self) -> None:
        """Ignore the request of a sampler that has suggested every architecture."""


def optuna_search(space: Space, score: Score, excess: Excess, settings: OptunaConfig, random: Random) -> Scores:
    """Score the suggestions of the sampler, each architecture once.

    A suggestion over the budget counts as a pruned trial, from which Optuna's samplers learn; a suggestion that was
    scored before counts as a failed trial. After `SUGGESTIONS` such suggestions in a row, a random architecture is
    scored instead, from which the sampler learns too.
    """
    silence()
    seed = random.randrange(2**32)
    made = optuna.create_study(direction="maximize", sampler=build_sampler(settings, space, seed))
    study = Study(made.study_name, made._storage, made.sampler, made.pruner)
    draws, scores = Draws(space, excess, random), Scores()
    while len(scores) < settings.evaluations and (suggested := _suggest(study, space, scores, excess, draws)):
        trial, code = suggested
        scores[code] = score(code)
        _report(study, trial, scores[code])
    return scores


def _suggest(
    study: Study, space: Space, scores: Scores, excess: Excess, draws: Draws
) -> tuple[optuna.trial.Trial, Code] | None:
    """Return a new suggestion within the budget, a random one if the sampler has none; None if none is left."""
    for _ in range(SUGGESTIONS):
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


def _report(study: Study, trial: optuna.trial.Trial, value: float) -> None:
    if value == -float("inf"):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, value)
