"""Charts of a sweep: one front for each pair of objectives, and ticks at whole trials."""

from nas.sweeps.charts import FEW, option_charts, outcome_charts, titles
from tests.nas.sweeps.test_page import metrics, rows, trial


def test_each_two_of_three_objectives_have_a_front() -> None:
    three = trial(1, 0.9, 0.1)
    three["objectives"]["seconds"] = 3.0
    given = metrics(three, objectives={"quality": "maximize", "share": "minimize", "seconds": "minimize"})
    done, titles_of = given["trials"], titles(given)
    charts = {f"chart-{chart.name}": chart.spec for chart in outcome_charts(given, done, titles_of, {})}
    places = [(row["x"], row["y"]) for number in range(3) for row in rows(charts[f"chart-front-{number}"] or {})]
    assert places == [(0.9, 0.1), (0.9, 3.0), (0.1, 3.0)]


def test_few_trials_have_a_tick_each() -> None:
    for count in (3, FEW + 1):
        given = metrics(*(trial(number + 1, 0.1 * number, 0.5) for number in range(count)))
        charts = outcome_charts(given, given["trials"], {"quality": "recall"}, {})
        (axis,) = (one for one in (charts[0].spec or {})["axes"] if one.get("title") == "trial")
        assert axis.get("values") == (list(range(1, count + 1)) if count <= FEW else None)
    assert option_charts(metrics()) == []
