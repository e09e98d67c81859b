"""The importance of options, in a study in which it is known."""

import optuna

from nas.sweeps.objectives import Objective
from nas.sweeps.summary import importances

MOST = Objective("quality", "maximize", lambda metrics: None)
LEAST = Objective("share", "minimize", lambda metrics: None)


def values(trial: optuna.Trial) -> tuple[float, float]:
    """Return a study whose first objective depends on x and the second on y; z has no effect."""
    x, y, z = (trial.suggest_float(name, 0, 1) for name in "xyz")
    return -((x - 0.9) ** 2) + 1e-6 * z, y


def test_importance_is_for_the_better_end_of_each_objective() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(values, 100)
    first, second = importances(study, MOST, 0), importances(study, LEAST, 1)
    assert next(iter(first)) == "x"
    assert first["x"] > 0.8
    assert next(iter(second)) == "y"
    assert second["y"] > 0.8


def test_trials_that_are_alike_tell_nothing() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: 0.0 * trial.suggest_float("x", 0, 1), 5)
    assert importances(study, MOST, 0) == {}
