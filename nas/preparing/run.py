"""The command: plan the input, settle the tokenizer, encode the units that are not finished, and report the result."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from nas.console import say
from nas.data.shards.folder import PARTS, TOKENIZER, Folder
from nas.data.shards.vocabulary import Vocabulary
from nas.distributed.launch import launched
from nas.errors import INTERRUPTED, UserError, warn
from nas.files.lock import locked
from nas.files.saving import replacing
from nas.jobs.processes import cores
from nas.options.preparing import BPEConfig, PrepareConfig
from nas.preparing.pieces import Plan, plan
from nas.preparing.progress import Progress
from nas.preparing.state import State, opened, options_of
from nas.preparing.tokenizer import given_path, identity, train
from nas.preparing.unit import Counts, Finished, Settings
from nas.preparing.workers import Encoded, Stopped, cannot, encode, train_apart

AUTO = "auto"


def prepare(config: PrepareConfig, console: Console) -> int:
    """Prepare the folder of tokens of a config, or continue it; return the exit status."""
    if launched().world > 1:
        raise UserError(f"nas.prepare runs in one process, not {launched().world}; start it alone, with workers=N.")
    if config.workers != AUTO and not isinstance(config.workers, int):
        raise UserError(f"workers={config.workers} is not allowed; give auto, or 1 or more.")
    given = given_path(config)
    planned = plan(config)
    folder = _made_folder(config)
    try:
        with locked(folder):
            options = options_of(config, planned, identity(config.tokenizer, given))
            run = _Run(config, planned, opened(folder, options), console)
            return run.finish(given)
    except OSError as error:
        raise cannot(str(folder), error) from error


def _made_folder(config: PrepareConfig) -> Path:
    """Return the folder of the shards, made if it is missing."""
    folder = Path(config.output).resolve()
    if folder.is_relative_to(Path(config.input).resolve()):
        raise UserError(f"output={config.output} is inside of input={config.input}; give a folder outside of it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={config.output} cannot be made ({error}); give another folder.") from error
    return folder


@dataclass
class _Run:
    """A run of the command.

    Attributes:
        config: the options.
        plan: the units of the input.
        state: what is finished.
        console: where progress is shown.
    """

    config: PrepareConfig
    plan: Plan
    state: State
    console: Console

    def finish(self, given: Path | None) -> int:
        """Encode all units that are not finished, and report the result; return the exit status."""
        done, every = len(self.state.finished), len(self.plan.units)
        say(
            self.console,
            f"input: {self.config.input}, {_count(self.plan.files, 'file')}, {self.plan.bytes / 1e6:,.1f} MB, "
            f"in {_count(every, 'unit')}"
            f"{f', {done:,} finished before' * (done > 0)}",
        )
        self.state.write()
        try:
            vocabulary = self._vocabulary(given)
            self.state.settle(vocabulary, self._tokenizer)
            if done < every:
                self._record(vocabulary, complete=False)
                self._encode(vocabulary)
        except (KeyboardInterrupt, Stopped):
            say(
                self.console,
                f"Stopped: {len(self.state.finished):,} of {every:,} units are finished and can be used; "
                "the same command continues.",
            )
            return INTERRUPTED
        if not self.state.counts.documents:
            reason = _left_out(self.state.counts) or "all rows of its tables are without a text"
            raise UserError(f"input={self.config.input} holds no text: {reason}; give text.")
        folder = self._record(vocabulary, complete=True)
        _report(self.config, folder, self.state.counts, self.console)
        return 0

    def _vocabulary(self, given: Path | None) -> Vocabulary:
        """Return the vocabulary; copy or train its tokenizer if the folder has none."""
        config, path = self.config.tokenizer, self._tokenizer
        if not isinstance(config, BPEConfig) or path is None:
            return Vocabulary.of_bytes()
        if not path.exists():
            content = self._train(config) if given is None else given.read_bytes()
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        return Vocabulary.read(path, config.end)

    def _train(self, config: BPEConfig) -> bytes:
        """Return the content of the tokenizer.json of a tokenizer that is trained on the input."""
        size = min(config.sample_bytes, self.plan.bytes)
        say(self.console, f"tokenizer: train BPE of {config.vocab_size:,} tokens on {size / 1e6:,.1f} MB of the text")
        make = train if self._workers() == 1 else train_apart
        content = make(self._settings(None), self.plan.units, config.vocab_size, config.sample_bytes, config.end)
        return content.encode()

    def _encode(self, vocabulary: Vocabulary) -> None:
        left = [(number, unit) for number, unit in enumerate(self.plan.units) if number not in self.state.finished]
        with Progress(self.console, self.plan, {*self.state.finished}) as progress:

            def show(event: Encoded | Finished) -> None:
                if isinstance(event, Finished):
                    self.state.finished[event.number] = event
                    self.state.write()
                    self._record(vocabulary, complete=False)
                progress.show(event)

            encode(self._settings(vocabulary), left, self._workers(), show)

    def _record(self, vocabulary: Vocabulary, complete: bool) -> Folder:
        return self.state.write_folder(vocabulary, self.config.input, complete)

    def _settings(self, vocabulary: Vocabulary | None) -> Settings:
        return Settings(
            root=self.plan.root,
            column=self.config.column,
            validation=self.config.validation,
            folder=str(self.state.folder),
            tokenizer=None if self._tokenizer is None else str(self._tokenizer),
            end=0 if vocabulary is None else vocabulary.end,
        )

    @property
    def _tokenizer(self) -> Path | None:
        """Return the path of the tokenizer.json in the folder; None if tokens are bytes."""
        return self.state.folder / TOKENIZER if isinstance(self.config.tokenizer, BPEConfig) else None

    def _workers(self) -> int:
        return cores() if self.config.workers == AUTO else int(self.config.workers)


def _report(config: PrepareConfig, folder: Folder, counts: Counts, console: Console) -> None:
    """Print what the folder holds, and warn of what may surprise."""
    tokens = sum(shard.tokens for shard in folder.shards)
    say(
        console,
        f"{_count(counts.documents, 'document')} of {counts.bytes / 1e6:,.1f} MB became {tokens:,} tokens "
        f"({counts.bytes / tokens:.2f} bytes a token, vocabulary {folder.vocab_size:,})",
    )
    for part in PARTS:
        own = folder.of(part)
        documents, some = sum(shard.documents for shard in own), sum(shard.tokens for shard in own)
        amounts = _count(documents, "document"), _count(some, "token"), _count(len(own), "shard")
        say(console, f"  {part}: {', '.join(amounts)}")
    if left_out := _left_out(counts):
        say(console, f"  left out: {left_out}")
    if counts.invalid_bytes:
        say(console, f"  kept as they are: {_count(counts.invalid_bytes, 'byte')} not in UTF-8")
    say(console, f"Train on it with: data=tokens data.path={folder.path}")
    for part in PARTS:
        if not folder.of(part) and 0 < config.validation < 1:
            warn(
                f"no document is for {part}, since each of {_count(counts.documents, 'document')} is assigned as a "
                "whole; give more documents, or another validation= in a new folder."
            )
    if counts.altered:
        warn(
            f"the tokenizer changes {_count(counts.altered, 'document')}, for example by a normal form of Unicode; "
            "bits per byte refer to the bytes of their tokens."
        )


def _left_out(counts: Counts) -> str:
    """Return what was left out, as text; empty if nothing was."""
    parts = (
        (counts.empty, _count(counts.empty, "empty document")),
        (counts.not_text, f"{_count(counts.not_text, 'file')} with zero bytes, not text"),
    )
    return ", ".join(amount for count, amount in parts if count)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
