"""Every command and every piece of code in README and docs does what the text says, at a small size."""

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.cli.composing import compose_search
from nas.config import RuleConfig, SearchConfig
from nas.options.training import EvolutionConfig
from tests.docs.snippets import ROOT, Block, Command, blocks, command_of, documents
from tests.nas.commands import MODEL, SMALL, Ended, composed, nas
from tests.nas.data.shards.written import train_tokenizer, write_folder
from tests.nas.plugins.written import Plugins
from tests.nas.pretrained.written import write_model

LANGUAGES = ("bash", "python", "yaml", "toml", "text")
OTHERS = ("nvidia-cuda-mps-control", "pip", "python3", ".venv/bin/pip")
"""Programs that are neither of this project nor run here: they install, or belong to a driver."""
TRAINER = (
    *("trainer.steps=2", "trainer.log_every=1", "trainer.validate_every=2", "trainer.checkpoint_every=2"),
    *("trainer.warmup_steps=1", "trainer.accelerator=cpu", "budget.dense_until=0"),
)
BATCHES = ("data.batch_size=2", "data.validation_batches=1", "data.length_factors=[1]")
RECALL = tuple(option for option in SMALL if option.startswith("data.")) + BATCHES
DATA = {
    "recall": RECALL,
    "text": ("data.length=64", *BATCHES),
    "tokens": ("data.length=64", *BATCHES),
    "needle": ("data.length=192", *BATCHES),
    "ruler": ("data.length=64", *BATCHES),
    "state_tracking": ("data.length=32", *BATCHES),
    "echo": ("data.length=32", *BATCHES),
}
OWN = {
    "compare": ("seeds=1", "learning_rates=[1e-3]", "tuning_seeds=1", "workers=1", "timing=false"),
    "sweep": ("sweep.trials=1", "sweep.workers=1"),
    "evaluate": ("suites.samples=1", "suites.ruler.tasks=[single_1]", "device=cpu"),
}
EVOLUTION = ("searcher.evaluations=4", "searcher.batches=1", "searcher.population=2", "searcher.sample=2")
RUNS = {
    ("search", "RUN"): ["+space=token_hybrid"],
    ("search", "OTHER"): ["+space=token_hybrid"],
    ("search", "TEXT"): ["+space=token_hybrid", "data=text", "data.path=my_corpus/", "budget.target=0.1"],
    ("search", "SPARSE"): ["+space=token_hybrid", "data=text", "data.path=my_corpus/", "budget.target=0.05"],
    ("sweep", "RUN"): ["+space=token_hybrid", "sweep.trials=50", "sweep.workers=4"],
    ("compare", "RUN"): ["baselines=[softmax,softmax_rope,interleaved_3_1]", "model.layers=4", "data=needle"],
}
"""The runs that the text names, and options of commands that make them: the text has these commands too."""
DOCUMENTS = [document for document in documents() if next(blocks(document), None)]


def small(command: Command) -> list[str]:
    """Options behind those of the text that make a command small; none where a run has its own already."""
    given = command.options
    if command.name == "prepare":
        bpe = "tokenizer=bytes" not in given
        return ["workers=1", *["tokenizer.vocab_size=300"] * bpe]
    if command.name == "generate":
        return ["max_tokens=4"]
    if any(option.startswith("suite=") for option in given):
        return [*OWN["evaluate"]]
    own = command.name in ("visualize", "evaluate", "export")
    if own or any(option.startswith(("resume=", "-")) for option in given):
        return []
    task = next((option.removeprefix("data=") for option in given if option.startswith("data=")), "recall")
    task = "text" if "experiment=my_corpus" in given else "tokens" if "experiment=small_lm" in given else task
    whole = ("data.batch_size=4",) if "experiment=small_lm" in given else ()  # ends with sequences four times as long
    default = "searcher=evolution" if "+space=joint" in given else ""
    searcher = next((option for option in given if option.startswith("searcher=")), default)
    evolution = EVOLUTION if searcher == "searcher=evolution" else ()
    sizes = ("model.chunk_size=8",) if "model=pretrained" in given else MODEL
    stages = [f"{stage}=2" for stage in ("align.steps", "heal.steps") if any(one.startswith(stage) for one in given)]
    return [*sizes, *stages, *DATA[task], *whole, *TRAINER, *OWN.get(command.name, ()), *evolution]


class Workspace:
    """A folder in which the commands of the documentation work as they are written.

    Blocks with a title are files. ``outputs/<command>/RUN``, OTHER, TEXT and SPARSE are runs, made when first named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        corpus = path / "my_corpus"
        corpus.mkdir()
        (corpus / "poem.txt").write_text("Softmax remembers, linear forgets. " * 200)
        write_folder(path / "my_tokens", {"train": [[b"Softmax remembers, linear forgets."] * 20]})
        train_tokenizer(
            write_model(path / "Llama-3.2-1B", num_hidden_layers=16, vocab_size=320, max_position_embeddings=128)
            / "tokenizer.json"
        )
        (path / "held_out").mkdir()
        (path / "held_out/poem.txt").write_text("Recall is exact. " * 20)
        (path / "rows.jsonl").write_text('{"story": "Once upon a time."}\n' * 3)
        (path / "notes.txt").write_text("def main():\n    return 1\n" * 4)
        for block in (block for document in DOCUMENTS for block in blocks(document) if block.title):
            (path / block.title).parent.mkdir(parents=True, exist_ok=True)
            (path / block.title).write_text(block.text)
        self._done: dict[tuple[str, ...], Ended] = {}

    def prepare(self, text: str) -> None:
        """Make the runs that a text names."""
        for (kind, name), options in RUNS.items():
            place = self.path / "outputs" / kind / name
            if f"outputs/{kind}/{name}" in text and not place.exists():
                shutil.copytree(self.path / self._ended(Command(kind, options)).run, place)

    def do(self, command: Command) -> None:
        """Run a command, or, where it needs several processes, compose its options."""
        if command.launched:
            composed(command.name, *command.options)
            return
        ended = self._ended(command)
        assert ended.status == 0, f"nas.{command.name} {' '.join(command.options)}: {ended.err}"

    def _ended(self, command: Command) -> Ended:
        """How a command ended, run once however often it is named."""
        words = (command.name, *command.options)
        if words not in self._done:
            self._done[words] = nas(*words, *small(command))
        return self._done[words]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("documentation"))


def _of_few_candidates(compose: Callable[..., SearchConfig]) -> Callable[..., SearchConfig]:
    """Compose searches of a comparison: evolution scores as few candidates as `EVOLUTION` says, a rule one batch."""

    def composed_small(*given: Any, **common: Any) -> SearchConfig:
        search = compose(*given, **common)
        if isinstance(search.searcher, EvolutionConfig):
            for option in EVOLUTION:
                name, _, value = option.removeprefix("searcher.").partition("=")
                setattr(search.searcher, name, int(value))
        elif isinstance(search.searcher, RuleConfig):
            search.searcher.batches = 1
        return search

    return composed_small


@pytest.fixture(autouse=True)
def in_workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be in the workspace; plugins that are loaded there are gone after the test."""
    monkeypatch.chdir(workspace.path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("nas.supernet.discretised.CALIBRATION_BATCHES", 8)  # 64 take half of the time
    monkeypatch.setattr("nas.shares.thresholds.BATCHES", 2)
    monkeypatch.setattr("nas.comparisons.searches.compose_search", _of_few_candidates(compose_search))
    plugins = Plugins(workspace.path)
    yield
    plugins.unload()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_blocks_say_their_language(document: Path) -> None:
    assert document.read_text().count("```") == 2 * len(list(blocks(document)))
    for block in blocks(document):
        assert block.language in LANGUAGES, block.place


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_commands_run(document: Path, workspace: Workspace) -> None:
    for block in blocks(document):
        if block.language == "bash":
            workspace.prepare(block.text)
            for words in block.commands():
                _check(words, block, workspace)


def _check(words: list[str], block: Block, workspace: Workspace) -> None:
    for word in words:
        if word.startswith("experiments/launch/"):
            assert os.access(ROOT / word, os.R_OK), f"{block.place}: there is no {word}"
    if command := command_of(words):
        workspace.do(command)
    elif words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["python", "-m"]:
        _check_study(words[2], words[3:])
    elif words[:2] == ["tensorboard", "--logdir"]:
        assert list(Path(words[2]).rglob("events.out.tfevents.*")), block.place
    else:
        assert words[0] in OTHERS, f"{block.place}: nothing checks {words[0]}"


def _check_study(module: str, options: list[str]) -> None:
    """A study takes long: its options are those that it knows."""
    assert importlib.util.find_spec(module), module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *options, "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_code_runs(document: Path, workspace: Workspace) -> None:
    for block in blocks(document):
        if block.language != "python":
            continue
        if block.title:  # a file, which a command imports
            commands = (word for own in blocks(document) if own.language == "bash" for word in own.text.split())
            assert any(Path(block.title).stem in word for word in commands), block.place
        else:
            workspace.prepare(block.text)
            exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})


def test_yaml_is_read(workspace: Workspace) -> None:
    for document in DOCUMENTS:
        for block in blocks(document):
            if block.language == "yaml":
                assert isinstance(yaml.safe_load(block.text), dict), block.place


def test_documents_are_found() -> None:
    names = {document.name for document in documents()}
    assert {"README.md", "index.md", "plugins.md", "search.md"} <= names


def test_commands_are_understood() -> None:
    started = Command("search", ["+space=joint"])
    assert command_of(["python", "-m", "nas.search", "+space=joint"]) == started
    assert command_of([".venv/bin/python", "-m", "nas.search", "+space=joint"]) == started
    assert command_of(["nas-search", "+space=joint"]) == started
    assert command_of(["eval", "$(.venv/bin/nas-search +space=joint)"]) == started
    assert command_of(["torchrun", "-m", "nas.search", "+space=joint"]) == started._replace(launched=True)
    assert command_of(["A=1", "experiments/launch/x.sh", "nas.search", "+space=joint"]) == started._replace(
        launched=True
    )
    assert command_of(["pip", "install", "x"]) is None
