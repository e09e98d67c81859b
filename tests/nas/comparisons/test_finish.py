"""The end of a comparison: timing, later seeds, and the written files."""

from pathlib import Path

from nas.comparisons.finish import CSV, MARKDOWN, TABLE, TIMINGS
from nas.comparisons.results import RESULTS
from tests.nas.commands import SMALL, Ended, contents
from tests.nas.comparisons.comparing import compare, comparison


def test_the_results_are_printed_written_and_drawn(compared: Ended) -> None:
    names = {path.name for path in compared.run.iterdir()}
    assert {RESULTS, TIMINGS, MARKDOWN, CSV, TABLE, "config.yaml", "train", "contenders"} <= names
    assert {"quality_by_length.png", "quality_by_length.svg", "quality_by_share.png"} <= names
    assert "searched_token_hybrid" in compared.out
    assert "trainings of 4 steps and up to 512 tokens each, about " in compared.out
    markdown = (compared.run / MARKDOWN).read_text()
    for heading in ("## Quality", "## Cost of inference", "## Pairwise tests", "## In words", "## Notes"):
        assert heading in markdown
    assert "learning rate, 0.01, was best for" in markdown or "learning rate, 0.001, was best for" in markdown


def test_seeds_can_be_added_and_models_timed_later(tmp_path: Path) -> None:
    options = ("baselines=[linear,softmax]", "workers=1", "context=32", "learning_rates=[0.01]", "trainer.steps=2")
    given = (*SMALL, *options, f"output={tmp_path}")
    first = compare(*given, "seeds=1", "timing=false")
    assert first.status == 0, first.err
    assert not (first.run / TIMINGS).exists()
    assert all(run.decode_seconds is None for contender in comparison(first.run).contenders for run in contender.runs)
    before = contents(first.run / "train")
    more = compare("seeds=2", "timing=true", f"resume={first.run}")
    assert more.status == 0, more.err
    assert before.items() <= contents(first.run / "train").items()
    assert [contender.seeds for contender in comparison(first.run).contenders] == [(0, 1)] * 2
    assert all(run.decode_seconds for contender in comparison(first.run).contenders for run in contender.runs)
    after = contents(first.run / "train")
    assert compare(f"resume={first.run}").status == 0
    assert contents(first.run / "train") == after
    assert [contender.seeds for contender in comparison(first.run).contenders] == [(0, 1)] * 2
