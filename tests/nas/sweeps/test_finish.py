"""The end of a sweep: its messages, its page and its figures."""

import pytest

from tests.nas.commands import Ended
from tests.nas.sweeps.sweeping import metrics


def test_several_objectives_end_in_a_pareto_front(front: Ended) -> None:
    found = metrics(front.run)
    assert list(found["objectives"].values()) == ["maximize", "minimize", "minimize"]
    best = {trial["trial"] for trial in found["best"]}
    for trial in found["trials"]:
        assert trial["state"] == "complete"
        others = [other["objectives"] for other in found["trials"] if other is not trial]
        assert (trial["trial"] in best) == (not any(_beats(other, trial["objectives"]) for other in others))
    assert "The Pareto front" in front.out
    assert "Pareto front: trial" in front.out
    assert front.out.count("python -m nas.search") == len(best)
    assert (front.run / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert set(found["importances"]) == {"recall", "share", "parameters"}
    for shares in found["importances"].values():
        assert set(shares) == set(found["trials"][0]["values"]) or not shares
    assert sum(found["importances"]["parameters"].values()) == pytest.approx(1)
    assert "Importance of the options for parameters (PED-ANOVA, 4 trials): " in front.out


def _beats(one: dict[str, float], other: dict[str, float]) -> bool:
    pairs = [(-one["quality"], -other["quality"])] + [(one[name], other[name]) for name in ("share", "parameters")]
    return all(a <= b for a, b in pairs) and one != other
