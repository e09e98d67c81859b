import json

from nas.report.alignment import draw_alignment

HISTORY = [
    {"step": 1, "error/layer_0/linear": 1.0, "error/layer_1/linear": 0.5, "error/layer_1/token_hybrid@8": 0.25},
    {"step": 10, "error/layer_0/linear": 0.4, "error/layer_1/linear": 0.2, "error/layer_1/token_hybrid@8": 0.125},
]


def test_each_operation_has_its_mean_and_its_worst_layer() -> None:
    chart = draw_alignment(HISTORY)
    assert chart is not None
    assert chart.summary == (
        "linear, mean 0.3, linear, worst layer 0.4, token_hybrid@8, mean 0.125, token_hybrid@8, worst layer 0.125 "
        "at step 10"
    )
    assert "worst layer" in json.dumps(chart.spec)


def test_runs_on_one_page_have_charts_of_their_own() -> None:
    names = [chart.name for run in ("A", "B") if (chart := draw_alignment(HISTORY, run))]
    assert names == ["error-A", "error-B"]


def test_a_run_without_an_alignment_has_no_chart() -> None:
    assert draw_alignment([]) is None
    assert draw_alignment([{"step": 1, "loss": 2.0}]) is None
