"""Results on disk count only for the same settings."""

from pathlib import Path

from nas.suites.plan import Unit
from nas.suites.result import Result, Score
from nas.suites.store import store, stored

RESULT = Result("text", "", 16, 2, {"bits per byte": Score(1.0, 0.5, 32)})


def unit(**settings: object) -> Unit:
    return Unit("text", "", 16, dict(settings), lambda subject, advance: RESULT)


def test_a_result_comes_back_for_the_same_question_alone(tmp_path: Path) -> None:
    assert stored(tmp_path, unit(seed=0)) is None
    store(tmp_path, unit(seed=0), RESULT)
    assert stored(tmp_path, unit(seed=0)) == RESULT
    assert stored(tmp_path, unit(seed=1)) is None
    store(tmp_path, unit(seed=1), RESULT)
    assert stored(tmp_path, unit(seed=0)) is None
    assert [path.name for path in (tmp_path / "suites").iterdir()] == ["text-16.json"]
