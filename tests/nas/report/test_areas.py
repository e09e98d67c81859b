"""The chart of shares over steps."""

from nas.report.areas import shares_over_steps
from tests.nas.report.test_charts import compiled, rows


def test_shares_over_steps_fill_the_row_of_their_layer() -> None:
    half = [(10.0, 0.5), (20.0, 0.25)]
    rest = [(step, 1 - share) for step, share in half]
    layers = {f"layer {layer}": {"softmax": half, "linear": rest} for layer in range(2)}
    made = compiled(shares_over_steps(layers, {"softmax": "softmax", "linear": "linear"}))
    areas = [row for row in rows(made) if "high" in row and row["layer"] == "layer 1" and row["step"] == 20]
    assert [(row["option"], row["low"], row["high"]) for row in areas] == [
        ("softmax", 1.92, 1.71),
        ("linear", 1.71, 1.08),
    ]
