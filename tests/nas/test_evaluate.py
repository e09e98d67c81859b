"""`python -m nas.evaluate`: a trained run at several shares, and what it refuses."""

import shutil
from pathlib import Path

import pytest

from tests.nas.commands import Ended, nas, refusal


def test_help_tells_what_there_is() -> None:
    ended = nas("evaluate", "--help")
    assert ended.status == 0
    for text in ("python -m nas.evaluate run=outputs/search/RUN", "\nshare=null ", "\nbeside=[] ", "\noutput=null "):
        assert text in ended.out


def test_one_model_is_measured_at_several_shares(
    of_bytes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.shares.thresholds.BATCHES", 4)
    run = Path(shutil.copytree(of_bytes, tmp_path / "run"))
    ended = nas("evaluate", f"run={run}", "share=[0.3,1]", "device=cpu")
    assert ended.status == 0, ended.err
    assert all(text in ended.out for text in ("as trained", "share=0.3", "random, share=1", "bits per byte"))
    names = {path.name for path in (run / "evaluation").iterdir()}
    assert names == {
        *("shares.json", "shares.md", "bits_per_byte-by-share.png", "bits_per_byte-by-share.svg"),
        *("bits_per_byte-by-cache.png", "bits_per_byte-by-cache.svg"),
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "run is missing; give the folder of a finished run"),
        (("run={run}",), "suite and share are missing; give one of them"),
        (("run={run}", "suite=text"), "suite=text is no list; give suite=[text]."),
        (("run={run}", "share=[]"), "share=[] is empty; give at least one, or omit share"),
        (("run={run}", "suite=[ruler]", "suites.ruler.tasks=[]"), "suites.ruler.tasks=[] is empty; give at least one"),
        (("run={run}", "suite=[text]", "suites.lengths=[]"), "suites.lengths=[] is empty; give at least one"),
        (("run={run}", "share=[1.5]"), "share=[1.5] is not allowed; give a number from 0 to 1"),
        (("run={run}", "suite=[text]", "beside=[nowhere]"), "has no effect without share"),
        (("run={run}", "share=[0.1]", "beside=[nowhere]"), "beside=nowhere: there is no such folder"),
        (("run={run}", "share=[0.1]", "beside=[{recall}]"), "was trained on recall with "),
        (("run={run}", "share=[0.1]", "beside=[{begun}]"), "/begun has no weights yet; finish the run first"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    of_bytes: Path, search: Ended, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    begun = Path(shutil.copytree(of_bytes, tmp_path / "begun", ignore=shutil.ignore_patterns("model.safetensors")))
    given = [option.format(run=of_bytes, recall=search.run, begun=begun) for option in options]
    assert told in refusal("evaluate", *given, f"output={tmp_path / 'made'}")
