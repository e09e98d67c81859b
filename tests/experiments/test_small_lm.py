"""The study of small language models: its corpus, trainings, records, rule and tables."""

import io
import sys
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments import runs
from experiments.small_lm import __main__ as command
from experiments.small_lm import corpus, report, rule, study
from experiments.small_lm.recipe import REPORTED, SEARCH, TUNING, Recipe
from experiments.small_lm.records import ANSWER, RANDOM, ROUTED, Trained
from experiments.small_lm.study import Study
from nas.budget.cost import kv_bytes
from nas.comparisons import finish
from nas.comparisons.contenders import TOLERANCE, parameters
from nas.errors import UserError
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture
from tests.nas.commands import composed

CONFIG: dict[str, Any] = yaml.safe_load((Path(command.__file__).parent / "config.yaml").read_text())
SOURCES = {"files": ["*.c", "*.h", "Documentation/*.rst"], "left_out": ["lib/made"], "held_out": ["fs/ext4"]}
SEEDS = (0, 1)


def test_where_a_file_of_the_sources_goes() -> None:
    assert corpus.part_of("fs/ext4/inode.c", SOURCES) == corpus.HELD_OUT
    assert corpus.part_of("fs/ext4x/inode.c", SOURCES) == corpus.TEXT
    assert corpus.part_of("Documentation/mm/numa.rst", SOURCES) == corpus.TEXT
    for name in ("lib/made/regs.h", "fs/ext4/Makefile", "tools/notes.rst"):
        assert corpus.part_of(name, SOURCES) is None


def archive(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:xz") as opened:
        for name in names:
            entry = tarfile.TarInfo(f"linux/{name}")
            entry.size = len(name)
            opened.addfile(entry, io.BytesIO(name.encode()))
    return path


def test_an_archive_is_divided_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = archive(tmp_path / "a.tar.xz", "fs/ext4/inode.c", "lib/sort.c", "lib/made/regs.h", "../lib/up.c")
    counts = corpus._extracted(given, tmp_path / "out", SOURCES)
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.c")}
    assert files == {"text/lib/sort.c", "held_out/fs/ext4/inode.c"}
    assert counts == {"text": [1, 10], "held_out": [1, 15]}
    monkeypatch.setattr(corpus, "_files", lambda _: pytest.fail("read again"))
    assert corpus._extracted(given, tmp_path / "out", SOURCES) == counts
    with pytest.raises(UserError, match="other files or held-out folders"):
        corpus._extracted(given, tmp_path / "out", SOURCES | {"held_out": ["lib"]})


def test_archives_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(UserError, match="give a tar archive with the sources of Linux"):
            corpus._extracted(path, tmp_path / "out", SOURCES)
    with pytest.raises(UserError, match="has no files for held_out"):
        corpus._extracted(archive(tmp_path / "a.tar.xz", "lib/sort.c"), tmp_path / "out", SOURCES)


@pytest.fixture
def vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prepared corpus as far as recipes read it."""
    monkeypatch.setattr(Recipe, "_vocab_size", CONFIG["corpus"]["vocab_size"])


def built(recipe: Recipe, made: list[str]) -> Architecture:
    """The architecture that a command trains; of a search, that of its routers."""
    options = dict(option.split("=", 1) for option in made[1:])
    routed = yaml.safe_load(options.get("model.routed_layers", "null"))
    sizes = replace(recipe._composed.model, mlp_width=int(options["model.mlp_width"]), routed_layers=routed)
    found = baselines.build(options.get("architecture", ROUTED), sizes, CONFIG["corpus"]["vocab_size"], 0.5)
    assert found is not None
    return found


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize(("size", "least", "most"), [("30m", 25e6, 30e6), ("60m", 55e6, 65e6)])
def test_all_contenders_have_the_same_size_and_half_of_the_cache(size: str, least: float, most: float) -> None:
    recipe = Recipe(CONFIG, size, Path("corpus"))
    answer = built(recipe, recipe.training("llslllslllsl", REPORTED, 1e-3, 0, None, None))
    every = [*CONFIG["contenders"]["references"], recipe.offsets[0], ANSWER, ROUTED, RANDOM]
    commands = {name: recipe.training(name, REPORTED, 1e-3, 0, answer, 0.4) for name in every}
    counts = [parameters(built(recipe, one)) for one in commands.values()]
    assert max(counts) <= min(counts) * (1 + TOLERANCE)
    assert least < max(counts) < most
    assert recipe.offsets == ["slllslllslll", "lslllslllsll", "llslllslllsl", "lllslllsllls"]
    options = dict(option.split("=", 1) for option in commands[ROUTED][1:])
    assert options["model.routed_layers"] == "[2,6,10]"
    assert int(options["budget.target"]) == int(0.45 * kv_bytes(answer, {}, 32768))
    assert "budget.target=0.400000" in commands[RANDOM]
    for made in (recipe.search(), commands[ROUTED]) if size == "30m" else ():
        config = composed("search", *made[1:])
        assert config.budget.context == 32768
    assert f"budget.target={kv_bytes(answer, {}, 32768)}" in recipe.search()


def test_a_name_that_is_no_contender_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "--plan", "--output", str(tmp_path), "--only", "linear", "llls"])
    assert runs.status_of(command.main) == 1
    assert capsys.readouterr().err.startswith("error: --only llls is no contender; choose from: layer_hybrid, linear")


def test_the_plan_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Study(CONFIG, "30m", tmp_path, tmp_path, tmp_path).left()
    assert [(one.stage, one.trainings) for one in left] == [(SEARCH, 1), (TUNING, 30), (REPORTED, 20)]
    tokens = [one.tokens for one in left]
    assert tokens == [(16 * 300 + 4 * 900) * 65536, 600 * 65536, 6000 * 65536]
    text = command.plan(left, CONFIG, "30m", 1e6)
    assert text.splitlines()[2] == "reported: 20 left, 393 M tokens each, about 3 hours of a GPU"
    monkeypatch.setattr(Recipe, "tokens", lambda *_: 0)
    assert Study(CONFIG, "60m", tmp_path, tmp_path, tmp_path).left()[0].trainings == 0, "the answer of 30m serves"


@pytest.mark.usefixtures("vocabulary")
def test_trainings_wait_for_those_on_which_they_depend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits = {"slllslllslll": 1.0, "lslllslllsll": 1.009, "llslllslllsl": 1.02, "lllslllsllls": 1.005}
    done: set[Path] = set()
    made = Study(CONFIG, "30m", tmp_path, tmp_path, tmp_path)
    answer = made.recipe._built("sl" * 6)
    monkeypatch.setattr(study, "is_kept", done.__contains__)
    monkeypatch.setattr(study, "load_architecture", lambda _: answer)
    monkeypatch.setattr(study, "softmax_share", lambda _: 0.3)
    monkeypatch.setattr(study, "merit", lambda path: -bits.get(path.name.split("_lr")[0], 1.0) - ("0.002" in path.name))
    waves: list[Any] = []
    while jobs := list(made.ready()):
        waves.append(sorted({(job.stage, job.contender) for job in jobs if job.contender in (ANSWER, ROUTED, RANDOM)}))
        assert len({job.name for job in jobs}) == len(jobs)
        done |= {tmp_path / "30m" / job.name for job in jobs}
    assert waves == [
        [(SEARCH, ANSWER)],
        [(TUNING, ANSWER), (TUNING, ROUTED)],
        [(REPORTED, ANSWER), (REPORTED, ROUTED), (TUNING, RANDOM)],
        [(REPORTED, RANDOM)],
    ]
    assert made.hybrids == ["slllslllslll", "lslllslllsll", "lllslllsllls"], "one is worse by more than 1 %"
    assert made.rate(ROUTED) == 1e-3
    monkeypatch.setattr(Recipe, "tokens", lambda *_: 0)
    assert sum(one.trainings for one in made.left()) == 0
    assert command.notes(made)[0] == "Ruled out by the tuning trainings: llslllslllsl."


def trained(name: str, bits: float, cache: int, seed: int = 0) -> Trained:
    return Trained(
        name=name,
        layers=name,
        seed=seed,
        learning_rate=2e-3,
        parameters=29_000_000,
        bits={2048: bits + 0.1, 32768: bits - 0.1},
        curve=[(1024, bits), (32768, bits)],
        identifiers={2048: 0.5},
        ruler={2048: 0.0},
        cache=cache,
        share=0.4 if name == ROUTED else None,
        prefill=1e-6,
        decode=1e-3,
        tokens_per_second=1e6,
        flops_share=None,
    )


def results(routed: float, cache: int, random: float, second: float | None = None) -> list[Trained]:
    """Two hybrids by hand of 1.0 and 0.9 bits per byte, and the searched model, with two seeds."""
    found = [trained("slll", 1.0, 100, seed) for seed in SEEDS] + [trained("lsll", 0.9, 100, seed) for seed in SEEDS]
    found += [trained(ROUTED, bits, cache, seed) for seed, bits in zip(SEEDS, (routed, second or routed), strict=True)]
    return [*found, *(trained(RANDOM, random, cache, seed) for seed in SEEDS), trained("linear", 0.8, 1)]


@pytest.mark.parametrize(
    ("found", "reached"),
    [
        (results(0.904, 50, 0.95), True),
        (results(0.906, 50, 0.95), False),
        (results(0.900, 51, 0.95), False),
        (results(0.904, 50, 0.90), False),
        (results(0.890, 50, 0.905, 0.91), False),
        (results(0.900, 50, 0.95, 0.908), True),
    ],
    ids=["all", "too far from the best by hand", "too large", "random is better", "random with one seed", "a mean"],
)
def test_when_the_criterion_is_reached(found: list[Trained], reached: bool) -> None:
    judged = rule.judge(found)
    assert judged is not None
    assert (judged.best, judged.reached) == ("lsll", reached)
    assert f"The criterion is {'reached' if reached else 'missed'}.**" in rule.verdict(found, 0)


def test_the_criterion_is_open_before_the_last_training() -> None:
    found = results(0.904, 50, 0.95)
    assert "open: 3 of 12 trainings are left" in rule.verdict(found, 3)
    assert rule.judge([one for one in found if (one.name, one.seed) != (RANDOM, 1)]) is None
    assert "missed: the search found no softmax layer" in rule.verdict([trained("slll", 1.0, 100)], 0)


def test_the_figure_names_positions() -> None:
    (axes,) = report.figure({"slll": [trained("slll", 1.0, 100)]}, 2048).axes
    format_of = axes.xaxis.get_major_formatter()
    assert [format_of(tokens, 0) for tokens in (512.0, 2048.0, 32768.0)] == ["512", "2k", "32k"]


def test_the_tables_have_a_row_for_each_contender(tmp_path: Path) -> None:
    text = report.write(tmp_path, "30m", results(0.904, 50, 0.95), 0, ["A note."], 2048)
    row = next(line for line in text.splitlines() if line.startswith(f"| {ROUTED}"))
    assert [cell.strip() for cell in row.split("|")[5:9]] == ["1.0040", "0.8040", "0.9040", "0.9040 0.9040"]
    assert "- A note." in text
    assert {path.name for path in tmp_path.iterdir()} == {"30m.md", "30m.json", "30m_bits_by_position.png"}
    assert "criterion is open" in report.write(tmp_path, "60m", [], 24, [], 2048)


def test_trainings_that_were_measured_at_other_lengths_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Study(CONFIG, "30m", tmp_path, tmp_path, tmp_path)
    monkeypatch.setattr(study, "is_kept", lambda _: True)
    monkeypatch.setattr(study.Study, "names", ["linear"])
    monkeypatch.setattr(study.Study, "_reported", lambda *_: tmp_path)
    other = replace(trained("linear", 1.0, 1, 1), bits={256: 1.0})
    read = iter([trained("linear", 1.0, 1), other])
    monkeypatch.setattr(Trained, "read", lambda *_: next(read))
    with pytest.raises(UserError, match=r"linear of seed 1 was measured at \[256\] tokens, linear at \[2048, 32768\]"):
        made.trained()


@pytest.fixture
def commands(runs_in_this_process: None, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """All commands of the study from now on; the first evaluation is stopped by the deadline."""
    ran: list[list[str]] = []
    execute = runs.execute

    def stopped(full: list[str], *given: Any) -> None:
        evaluated = [one for one in ran if one[0] == "nas.evaluate"]
        ran.append(list(full[2:]))
        if full[2] == "nas.evaluate" and not evaluated:
            raise runs.DeadlinePassed
        execute(full, *given)

    monkeypatch.setattr(runs, "execute", stopped)
    monkeypatch.setattr(finish, "decode_seconds_per_token", lambda *_, **__: 1e-3)  # seconds for each contender
    return ran


def test_a_stopped_study_continues_and_repeats_nothing(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[str]:
        """Run the study and return the commands that it runs, apart from the corpus."""
        before = len(commands)
        monkeypatch.setattr(sys, "argv", ["study", "--smoke", "--output", str(tmp_path)])
        command.main()
        return [one[0].rpartition(".")[2] for one in commands[before:] if one[0] != "nas.prepare"]

    with pytest.raises(runs.DeadlinePassed):
        run()
    assert run()[0] == "evaluate", "its training is not repeated"
    ran = Counter(one[0] for one in commands)
    reported = 5  # two hybrids by hand, the answer, and its two routings
    assert ran["nas.search"] + ran["nas.train"] == 1 + 2 + reported
    assert ran["nas.evaluate"] == 1 + reported
    assert ran["experiments.small_lm.timing"] == reported
    text = (tmp_path / "results/30m.md").read_text()
    (row,) = (line.split("|") for line in text.splitlines() if line.startswith(f"| {ROUTED}"))
    assert "-" not in [cell.strip() for cell in row[1:13]], "all of it is measured"
    assert "The criterion is missed.**" in text or "The criterion is reached.**" in text
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert run() == [], "records alone say what is done"
    assert (tmp_path / "results/30m.md").read_text() == text
