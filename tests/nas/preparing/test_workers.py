"""Workers: their failures become one message."""

import errno
import math
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest

from nas.errors import UserError
from nas.preparing import workers
from nas.preparing.pieces import plan
from nas.preparing.unit import Finished, Settings
from nas.preparing.workers import Encoded, Stopped, cannot, encode, train_apart
from tests.nas.preparing.preparing import config, rows


def test_failures_in_workers_are_one_message(tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", ["text"] * 100)
    units = plan(config(path, tmp_path)).units
    settings = Settings(str(tmp_path), "story", 0.0, str(tmp_path))
    with pytest.raises(UserError, match="column=story is not a text in line 1 of"):
        train_apart(settings, units, 300, 100, None)
    with pytest.raises(UserError, match="column=story is not a text in line 1"):
        encode(settings, list(enumerate(units)), 2, lambda event: None)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_stopped_or_killed_worker_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, failure: str | None) -> None:
            self.alive = [Mock(failure=failure)]

        def __enter__(self) -> "Pool":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def messages(self) -> Any:
            return [(self.alive.pop(), None)]

    for failure, error in ((None, Stopped), ("was killed (SIGKILL)", UserError)):
        monkeypatch.setattr("nas.preparing.workers.start_pool", lambda *_, failure=failure, **__: Pool(failure))
        with pytest.raises(error):
            encode(cast(Any, None), [(0, []), (1, [])], 2, lambda event: None)
        with pytest.raises(error):
            train_apart(cast(Any, None))


def test_progress_is_reported_by_time_rather_than_by_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rows(tmp_path / "rows.jsonl", ["text"] * 100)
    settings = Settings(str(tmp_path), "text", 0.0, str(tmp_path))
    events: list[Encoded | Finished] = []
    units = list(enumerate(plan(config(path, tmp_path)).units))
    monkeypatch.setattr(workers, "INTERVAL", math.inf)
    encode(settings, units, 1, events.append)
    assert [type(event) for event in events] == [Finished] * len(units)
    monkeypatch.setattr(workers, "INTERVAL", 0.0)
    encode(settings, units, 1, events.append)
    assert sum(event.bytes for event in events if isinstance(event, Encoded)) == 400


def test_errors_of_files_name_the_option() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/out/tokens")
    assert "output=/out/tokens cannot be written: No space left" in str(cannot("/out/tokens", full))
    gone = OSError(errno.ENOENT, "No such file", "/corpus/a.txt")
    assert "input has the file /corpus/a.txt, which cannot be read: No such file" in str(cannot("/out/tokens", gone))
