"""The traceback of a job that failed."""

from pathlib import Path

from nas.jobs.errors import ERRORS, keep_traceback


def test_the_first_line_is_told_and_the_traceback_is_kept(tmp_path: Path) -> None:
    for name, error in (("one", RuntimeError("out of memory\nwith details")), ("two", KeyError())):
        try:
            raise error
        except (RuntimeError, KeyError) as caught:
            told = keep_traceback(caught, tmp_path, name)
        place = tmp_path / ERRORS / f"{name}.txt"
        first = "RuntimeError: out of memory" if name == "one" else "KeyError: "
        assert told == f"{first} (see {place})"
        assert place.read_text().startswith("Traceback (most recent call last):")
    assert "with details" in (tmp_path / ERRORS / "one.txt").read_text()
