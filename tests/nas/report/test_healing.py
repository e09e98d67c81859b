"""The curves of a healing."""

from nas.report.healing import draw_healing

HISTORY = [
    {"step": 1, "hidden_error/layer_0": 0.5, "hidden_error/layer_1": 1.0, "original_divergence": 2.0, "loss": 0.75},
    {"step": 10, "hidden_error/layer_0": 0.25, "hidden_error/layer_1": 0.5, "original_divergence": 0.5, "loss": 0.5},
]


def test_errors_and_the_divergence_have_a_chart_each() -> None:
    errors, divergence = draw_healing(HISTORY)
    assert errors.summary == "mean of the layers 0.375, worst layer 0.5 at step 10"
    assert divergence.summary == "KL 0.5 at step 10"


def test_runs_on_one_page_have_charts_of_their_own() -> None:
    charts = [chart for run in ("A", "B") for chart in draw_healing(HISTORY, run)]
    assert len({chart.name for chart in charts}) == 4
    assert charts[0].title.endswith(", A")


def test_a_run_without_a_healing_has_no_chart() -> None:
    assert draw_healing([]) == []
    assert draw_healing([{"step": 1, "loss": 2.0}]) == []
