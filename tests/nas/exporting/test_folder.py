"""What an export may replace, and a folder that is written completely or not at all."""

from pathlib import Path

import pytest

from nas.errors import UserError
from nas.exporting.folder import CARD, CONFIG, check_folder, write_folder


def test_a_new_an_empty_and_an_exported_folder_are_accepted(tmp_path: Path) -> None:
    run, to = tmp_path / "run", tmp_path / "deep/er/model"
    check_folder(to, run, overwrite=False)
    to.mkdir(parents=True)
    check_folder(to, run, overwrite=False)
    (to / CONFIG).write_text("{}")
    check_folder(to, run, overwrite=True)


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / CONFIG).write_text("{}")
    with pytest.raises(UserError, match="is not empty; give a new folder, or overwrite=true"):
        check_folder(tmp_path / "model", tmp_path / "run", overwrite=False)
    (tmp_path / "model/thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"has thesis\.tex, which no export writes"):
        check_folder(tmp_path / "model", tmp_path / "run", overwrite=True)
    with pytest.raises(UserError, match="is a file; give a folder"):
        check_folder(tmp_path / "model/thesis.tex", tmp_path / "run", overwrite=True)
    with pytest.raises(UserError, match="is inside run="):
        check_folder(tmp_path / "run/model", tmp_path / "run", overwrite=True)


def test_a_folder_that_cannot_be_filled_is_as_before(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / CARD).write_text("new")
        raise OSError(28, "No space left on device")

    to = tmp_path / "model"
    write_folder(to, lambda folder: (folder / CARD).write_text("old") and None)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); free disk space"):
        write_folder(to, fails)
    assert (to / CARD).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
