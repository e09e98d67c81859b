"""The searches of the study: a job for each model, budget, contender and seed, and the preparation of each model."""

import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TextIO

from experiments import runs
from experiments.pretrained.gemma import missing
from experiments.pretrained.measure import MEASURED
from experiments.runs import each_of, newest_finished, run_once
from nas.budget.cost import kv_bytes
from nas.cli.composing import compose_search
from nas.data.shards.folder import RECORD
from nas.pretrained.original import original_architecture
from nas.pretrained.stock import build_space
from nas.runs.folder import WEIGHTS, read_json

GEMMA = "gemma"
ORIGINAL = "teacher"
"""Folder of the figures of the pretrained model itself."""
CORPUS = Path(sysconfig.get_path("purelib"))
"""Text of the study: the Python packages of this environment."""


@dataclass(frozen=True)
class Job:
    """One search.

    Attributes:
        model, budget, contender, seed: what is searched.
        folder: output folder of this job alone.
    """

    model: str
    budget: str
    contender: str
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether the search has ended and is measured, as far as its weights allow; its small files show that."""
        run = newest_finished(self.folder)
        return run is not None and ((self.folder / MEASURED).exists() or not (run / WEIGHTS).exists())


@dataclass
class Study:
    """The study.

    Attributes:
        config: content of config.yaml, with the changes of a smoke test if it is one.
        output: folder of all runs.
        corpus: folder with the text.
        given: further options of every search.
        keep: whether weights and checkpoints of measured searches are kept.
    """

    config: dict[str, Any]
    output: Path
    corpus: Path = CORPUS
    given: Sequence[str] = ()
    keep: bool = False
    _teaching: Lock = field(default_factory=Lock)

    @property
    def models(self) -> list[str]:
        """The names of the models, in their order."""
        return list(self.config["models"])

    def jobs(self) -> Iterator[Job]:
        """Yield all jobs, those of the target first."""
        for budget in self.config["fractions"]:
            for seed in self.config["seeds"]:
                for model, own in self.config["models"].items():
                    for contender in own["contenders"][budget]:
                        folder = self.output / model / budget / f"{contender}_{seed}"
                        yield Job(model, budget, contender, seed, folder)

    def folder_of(self, model: str) -> Path:
        """Return the folder of a pretrained model."""
        return self.output / "models" / model

    def tokens_of(self, model: str) -> Path:
        """Return the folder of tokens of a model."""
        return self.output / "tokens" / model

    def left_out(self, model: str) -> str | None:
        """Return why a model cannot be had here; None if it can."""
        lacking = missing() if model == GEMMA and not (self.folder_of(model) / WEIGHTS).exists() else []
        return f"needs the packages {', '.join(lacking)}, see experiments/pretrained/gemma.py" if lacking else None

    def prepare(self, model: str, deadline: float | None) -> None:
        """Make the folders of a model and of its tokens, as far as they are missing."""
        folder, tokens = self.folder_of(model), self.tokens_of(model)
        made, own = (folder / WEIGHTS).exists(), self.config["models"][model]
        tokenizer = [f"tokenizer.path={folder / 'tokenizer.json'}"] if model == GEMMA else []
        prepare = ["nas.prepare", f"input={self.corpus}", f"output={tokens}", *self.config["tokens"], *own["tokens"]]
        if model == GEMMA and not made:
            _run(["experiments.pretrained.gemma", str(folder)], deadline)
        if not (read_json(tokens / RECORD) or {}).get("complete"):
            _run([*prepare, *tokenizer], deadline)
        if model != GEMMA and not made:
            _run(["experiments.pretrained.llama", str(tokens), str(folder), *own["train"]], deadline)

    def options(self, job: Job) -> list[str]:
        """Return the options of a search, without its budget."""
        own = [f"model.path={self.folder_of(job.model)}", f"data.path={self.tokens_of(job.model)}", f"seed={job.seed}"]
        contender = self.config["contenders"][job.contender]
        return [*contender, *self.config["common"], *self.config["models"][job.model]["options"], *own, *self.given]

    def cache_of(self, model: str) -> int:
        """Return the bytes that a pretrained model keeps at the context of the study."""
        job = next(job for job in self.jobs() if job.model == model)
        config = compose_search(self.options(job))
        space = build_space(config.space, config.model, config.model.vocab_size or 0)
        return kv_bytes(original_architecture(space.sizes), {}, self.config["context"])

    def run(self, jobs: Sequence[Job], workers: int, deadline: float | None) -> None:
        """Make the searches that have not ended, and measure each as soon as it ends."""
        caches = {model: self.cache_of(model) for model in {job.model for job in jobs}}
        by_folder = {job.folder: job for job in jobs}

        def command(job: Job) -> list[str]:
            target = int(self.config["fractions"][job.budget] * caches[job.model])
            budget = [f"budget.context={self.config['context']}", f"budget.target={target}"]
            return ["nas.search", *self.options(job), *budget]

        def work(folder: Path, environment: Mapping[str, str], log: TextIO, deadline: float | None) -> None:
            job = by_folder[folder]
            run_once(folder, command(job), environment, log, deadline)
            self._measure(job, environment, log, deadline)

        each_of(list(by_folder), work, workers, deadline=deadline)

    def _measure(self, job: Job, environment: Mapping[str, str], log: TextIO, deadline: float | None) -> None:
        """Measure a finished search and, after the first one of a model, its original; then delete the weights."""
        run = newest_finished(job.folder)
        if run is None or not (run / WEIGHTS).exists():
            return
        own = self.config["measured"]
        options = [f"--samples={own['samples']}", f"--context={self.config['context']}", "--lengths"]
        options += [*map(str, own["lengths"]), "--tasks", *own["tasks"]]

        def measure(folder: Path, *more: str) -> None:
            if not (folder / MEASURED).exists():
                _run(
                    ["experiments.pretrained.measure", str(run), str(folder), *options, *more],
                    deadline,
                    environment,
                    log,
                )

        measure(job.folder)
        with self._teaching:
            measure(self.output / job.model / ORIGINAL, "--original")
        if not self.keep:
            delete_weights(run)


def _run(
    command: Sequence[str],
    deadline: float | None,
    environment: Mapping[str, str] | None = None,
    log: TextIO | None = None,
) -> None:
    print("$ python -m", *command, flush=True, file=log)
    runs.execute([sys.executable, "-m", *command], environment, log, deadline)


def delete_weights(run: Path) -> None:
    """Delete the weights and checkpoints of a run, which fill a disk and are not needed any more."""
    for path in [run / WEIGHTS, *run.rglob("*.ckpt")]:
        path.unlink(missing_ok=True)
