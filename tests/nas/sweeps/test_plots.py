"""The figure of a sweep: the history of one objective, or the Pareto front of several."""

from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from nas.sweeps.plots import plot
from nas.sweeps.queue import Slot
from tests.nas.sweeps.test_ranking import QUALITY, SHARE, slots


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_is_one_picture_as_png_and_svg(tmp_path: Path, count: int) -> None:
    some = slots((0.9, 0.5, 0.1)[:count], None, (0.8, 0.1, 0.2)[:count])
    paths = plot(tmp_path, some, [QUALITY, SHARE, SHARE][:count], "bits_per_byte")
    name = "history" if count == 1 else "pareto"
    assert sorted(path.name for path in paths) == [f"{name}.png", f"{name}.svg"]
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_pruned_trial_is_drawn_at_its_last_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = create_trial(state=TrialState.PRUNED, values=[0.25])
    drawn: list[list[str]] = []

    def kept(figure: object, folder: Path, name: str) -> list[Path]:
        drawn.extend(axes.get_legend_handles_labels()[1] for axes in figure.axes)  # type: ignore[attr-defined]
        return []

    monkeypatch.setattr("nas.sweeps.plots.save", kept)
    plot(tmp_path, slots((0.5,)), [QUALITY], "recall")
    plot(tmp_path, [*slots((0.5,)), Slot(1, (pruned,))], [QUALITY], "recall")
    assert [sorted(labels) for labels in drawn] == [
        ["best so far", "trial"],
        ["best so far", "pruned, at its last report", "trial"],
    ]
