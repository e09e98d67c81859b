"""`python -m nas.export`: a folder that transformers loads without the toolkit, and what it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from nas.models.decoding import Decoder
from nas.results.opened import open_trained
from tests.nas.commands import BATCHES, MODEL, SHORT, TRAINER, Ended, nas, refusal
from tests.nas.data.shards.written import train_tokenizer, write_folder
from tests.nas.pretrained.written import write_model

ALONE = """
import json, sys
sys.modules["nas"] = None  # the toolkit is not installed
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
tokens = torch.tensor(json.loads(sys.argv[2]))
logits = model(tokens).logits
made = model.generate(tokens, max_new_tokens=20, do_sample=False, pad_token_id=0)
print(json.dumps([logits.tolist(), made.tolist()]))
"""
TEXT = b"Softmax remembers, linear forgets."
Shared = Callable[..., Ended]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transformers copy the code of a folder into a folder of the test."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(scope="session")
def of_tokens(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a layer hybrid with a pretrained start, on tokens; tests do not write to it."""
    folder = tmp_path_factory.mktemp("pretrained")
    tokenizer = train_tokenizer(write_model(folder / "model", vocab_size=320) / "tokenizer.json")
    write_folder(folder / "tokens", {"train": [[TEXT * 30] * 20], "validation": [[TEXT * 30] * 4]}, tokenizer)
    options = (
        *("architecture=softmax-window", "model=pretrained", f"model.path={folder / 'model'}", "model.window=5"),
        *("model.chunk_size=8", "data=tokens", f"data.path={folder / 'tokens'}", "data.length=64"),
    )
    return shared("of_tokens", "train", *options, *BATCHES, *TRAINER, *SHORT).run


def exported(run: Path, to: Path, *options: str) -> Ended:
    ended = nas("export", f"run={run}", f"to={to}", *options)
    assert ended.status == 0, ended.err
    return ended


def greedy(run: Path, tokens: torch.Tensor, count: int) -> list[list[int]]:
    """The continuation by the toolkit, with the prompt."""
    opened = open_trained("run", str(run), "cpu")
    decoder = Decoder(opened.trained, opened.policy)
    made = [decoder.prefill(tokens).argmax(-1)]
    while len(made) < count:
        made.append(decoder.step(made[-1]).argmax(-1))
    continued: list[list[int]] = torch.cat([tokens, torch.stack(made, dim=1)], dim=1).tolist()
    return continued


def test_help_tells_what_there_is() -> None:
    ended = nas("export", "--help")
    assert ended.status == 0
    for text in ("python -m nas.export run=outputs/search/RUN", "\nrun=null ", "\nto=null ", "\nformat=auto "):
        assert text in ended.out


def test_a_folder_loads_without_the_toolkit_and_computes_the_same(search: Ended, tmp_path: Path) -> None:
    to = tmp_path / "model"
    told = exported(search.run, to)
    assert "with its code in modeling_nas_hybrid.py, trust_remote_code=True" in told.out
    tokens = torch.randint(24, (2, 13))
    command = [sys.executable, "-c", ALONE, str(to), json.dumps(tokens.tolist())]
    cache = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | cache, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    logits, made = json.loads(ended.stdout)
    expected = open_trained("run", str(search.run), "cpu").trained(tokens).logits
    torch.testing.assert_close(torch.tensor(logits), expected, atol=1e-4, rtol=0)
    assert made == greedy(search.run, tokens, 20)


def test_bytes_have_a_tokenizer_that_is_exact(of_bytes: Path, tmp_path: Path) -> None:
    exported(of_bytes, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.padding_side == "left"
    for text in ("line 0001\n", "für  三\t\r\n <|endoftext|>", "".join(map(chr, range(1, 400)))):
        assert tokenizer(text)["input_ids"] == list(text.encode())
        assert tokenizer.decode(list(text.encode())) == text
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    prompt = tokenizer("line 0", return_tensors="pt")
    made = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, 6:]
    ended = nas("generate", f"run={of_bytes}", "prompt='line 0'", "max_tokens=24", "temperature=0", "device=cpu")
    assert bytes(made.tolist()).decode("utf-8", "replace") == ended.out.removesuffix("\n")
    batch = tokenizer(["line 0", "l"], return_tensors="pt", padding=True)
    assert batch["input_ids"].max() == 256  # padding, which is no token of the model
    several = model.generate(**batch, max_new_tokens=24, do_sample=False)
    assert several[0, 6:].tolist() == made.tolist()
    model(batch["input_ids"])


def test_a_layer_hybrid_of_a_pretrained_model_needs_no_code(of_tokens: Path, tmp_path: Path) -> None:
    to = tmp_path / "model"
    assert "a model of the family smollm3" in exported(of_tokens, to).out
    assert not list(to.glob("*.py"))
    model: Any = AutoModelForCausalLM.from_pretrained(to)
    tokenizer = AutoTokenizer.from_pretrained(to)
    tokens = tokenizer(TEXT.decode(), return_tensors="pt")["input_ids"]
    assert tokenizer.decode(tokens[0]) == TEXT.decode()
    expected = open_trained("run", str(of_tokens), "cpu").trained(tokens).logits
    torch.testing.assert_close(model(tokens).logits, expected, atol=1e-4, rtol=0)
    exported(of_tokens, to, "format=remote_code", "overwrite=true")
    coded: Any = AutoModelForCausalLM.from_pretrained(to, trust_remote_code=True)
    torch.testing.assert_close(coded(tokens).logits, expected, atol=1e-4, rtol=0)
    assert coded.generate(tokens, max_new_tokens=9, do_sample=False).tolist() == greedy(of_tokens, tokens, 9)


def test_a_model_whose_tokenizer_its_family_would_replace_brings_its_code(
    of_tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.workflows.export.fits_family", lambda tokenizer, family: False)
    assert "with its code in" in exported(of_tokens, tmp_path / "model").out
    told = refusal("export", f"run={of_tokens}", f"to={tmp_path / 'stock'}", "format=stock")
    assert "as that of Qwen2, which splits text otherwise; give format=remote_code" in told


def test_the_tokenizer_of_the_data_replaces_that_of_a_missing_folder(
    shared: Shared, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("own")
    write_folder(folder, {"train": [[TEXT * 30] * 20], "validation": [[TEXT * 30] * 4]})
    data = ("data=tokens", f"data.path={folder}", "data.length=64")
    run = shared("own_tokens", "train", "architecture=linear", *MODEL, *data, *BATCHES, *TRAINER, *SHORT).run
    exported(run, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer("é")["input_ids"] == list("é".encode())
    assert (tokenizer.eos_token_id, tokenizer.eos_token) == (256, "<|endoftext|>")
    assert json.loads((tmp_path / "model/generation_config.json").read_text())["eos_token_id"] == 256


def test_an_export_replaces_an_earlier_one_and_nothing_else(search: Ended, of_bytes: Path, tmp_path: Path) -> None:
    to = tmp_path / "deep/model"
    exported(of_bytes, to)
    assert (to / "tokenizer.json").exists()
    assert "is not empty; give a new folder, or overwrite=true" in refusal("export", f"run={search.run}", f"to={to}")
    exported(search.run, to, "overwrite=true")
    assert not (to / "tokenizer.json").exists()
    (to / "mine.txt").write_text("kept")
    told = refusal("export", f"run={search.run}", f"to={to}", "overwrite=true")
    assert "has mine.txt, which no export writes" in told
    assert sorted(path.name for path in to.parent.iterdir()) == ["model"]


def test_a_link_stays_and_its_folder_is_written(search: Ended, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "place")
    exported(search.run, tmp_path / "link")
    exported(search.run, tmp_path / "link", "overwrite=true")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "place/config.json").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("to={to}",), "run is missing; give the folder of a finished run"),
        (("run={run}",), "to is missing; give the folder to write"),
        (("run={here}/none", "to={to}"), "none: there is no such folder; give the folder of a run"),
        (("run={here}", "to={to}"), "config.yaml is missing or damaged, so"),
        (("run={run}", "to={run}/model"), "is inside run="),
        (("run={run}", "to={here}/file"), "file is a file; give a folder"),
        (("run={run}", "to={here}/file/model"), "file is not a folder that can be written; give another folder"),
        (("run={run}", "to={to}", "format=gguf"), "format=gguf is unknown; choose one of: auto, remote_code, stock"),
        (("run={run}", "to={to}", "format=stock"), "only runs with model=pretrained can be; give format=remote_code"),
    ],
)
def test_what_cannot_be_exported_is_refused(search: Ended, tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    (tmp_path / "file").write_text("x")
    to = tmp_path / "model"
    given = (option.format(run=search.run, here=tmp_path, to=to) for option in options)
    assert told in refusal("export", *given)
    assert not to.exists()


def test_a_run_that_is_not_finished_is_refused(editable: Path, tmp_path: Path) -> None:
    metrics = json.loads((editable / "metrics.json").read_text())
    (editable / "metrics.json").write_text(json.dumps(metrics | {"finished": False}))
    assert "is not finished; finish it first" in refusal("export", f"run={editable}", f"to={tmp_path / 'model'}")
    (editable / "model.safetensors").unlink()
    assert "has no weights yet; finish the run" in refusal("export", f"run={editable}", f"to={tmp_path / 'model'}")


def test_given_routings_are_refused(editable: Path, tmp_path: Path) -> None:
    stored = json.loads((editable / "architecture.json").read_text())
    (stored.get("architecture") or stored).update(given_routing="random", given_share=0.5)
    (editable / "architecture.json").write_text(json.dumps(stored))
    told = refusal("export", f"run={editable}", f"to={tmp_path / 'model'}")
    assert "has random routing, which is for comparisons; export a run whose routers decide" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(search: Ended, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    told = refusal("export", f"run={search.run}", f"to={closed / 'model'}")
    assert f"{closed} is not a folder that can be written; give another folder" in told


def test_a_full_disk_leaves_the_earlier_export(search: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = tmp_path / "model"
    exported(search.run, to)
    before = (to / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nas.workflows.export.save_file", full)
    told = refusal("export", f"run={search.run}", f"to={to}", "overwrite=true")
    assert "cannot be written (No space left on device); free disk space, or give another folder" in told
    assert (to / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_lm_eval_measures_a_folder_on_an_offline_task(of_tokens: Path, tmp_path: Path) -> None:
    lm_eval: Any = pytest.importorskip("lm_eval", reason="needs the extra lm_eval")
    tasks: Any = pytest.importorskip("lm_eval.tasks")
    documents = [{"prompt": "Softmax", "rest": " remembers"}, {"prompt": "linear forgets.Soft", "rest": "max"}]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    task = {
        "task": "offline",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "task.jsonl")}},
        "output_type": "loglikelihood",
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{rest}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    manager = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
    for given in ("stock", "remote_code"):
        to = tmp_path / given
        exported(of_tokens, to, f"format={given}")
        model = {"pretrained": str(to), "trust_remote_code": given == "remote_code", "prefix_token_id": 0}
        found = lm_eval.simple_evaluate("hf", model, ["offline"], task_manager=manager, device="cpu", batch_size=2)
        tokenizer, trained = AutoTokenizer.from_pretrained(to), open_trained("run", str(of_tokens), "cpu").trained
        for sample, document in zip(found["samples"]["offline"], documents, strict=True):
            prompt = tokenizer(document["prompt"])["input_ids"]
            tokens = tokenizer(document["prompt"] + document["rest"])["input_ids"]
            scores = trained(torch.tensor([tokens])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            rest = torch.tensor(tokens[len(prompt) :])
            assert sample["filtered_resps"][0][0] == pytest.approx(
                scores.gather(-1, rest[:, None]).sum().item(), abs=1e-3
            )
