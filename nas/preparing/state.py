"""The record of a run of `nas.prepare`: its options, and the units that are finished.

The record of the folder of tokens follows from it and is written after each unit, so that finished shards can be used
at any time.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.data.shards.folder import (
    RECORD,
    TOKENIZER,
    Fingerprint,
    Folder,
    Input,
    Shard,
    check_shard,
    fingerprint_of,
)
from nas.data.shards.vocabulary import BYTES, Vocabulary
from nas.errors import UserError
from nas.files.lock import LOCK
from nas.files.saving import replacing
from nas.options.preparing import PrepareConfig
from nas.preparing.pieces import Plan
from nas.preparing.unit import Counts, Finished, dtype_of

STATE = "prepare.json"
"""File of the record."""


@dataclass
class State:
    """The record.

    Attributes:
        folder: folder of tokens.
        options: what decides the content of the shards, by option; values are text.
        finished: finished units by number.
        tokenizer: fingerprint of the tokenizer; None until it is known.
        dtype: type of the tokens; None until the tokenizer is known.
    """

    folder: Path
    options: dict[str, str]
    finished: dict[int, Finished] = field(default_factory=dict)
    tokenizer: str | None = None
    dtype: str | None = None

    @property
    def counts(self) -> Counts:
        """Return what the documents of the finished units add up to."""
        return sum((unit.counts for unit in self.finished.values()), Counts())

    def write(self) -> None:
        """Write the record.

        Raises:
            OSError: the file cannot be written.
        """
        values = {
            "options": self.options,
            "tokenizer": self.tokenizer,
            "dtype": self.dtype,
            "finished": [asdict(unit) for _, unit in sorted(self.finished.items())],
        }
        with replacing(self.folder / STATE) as temporary:
            temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")

    def settle(self, vocabulary: Vocabulary, tokenizer: Path | None) -> None:
        """Record the vocabulary of the shards.

        Args:
            vocabulary: vocabulary of the tokens.
            tokenizer: its tokenizer.json; None if tokens are bytes.

        Raises:
            UserError: finished shards have another tokenizer.
            OSError: the record cannot be written.
        """
        fingerprint = fingerprint_of(tokenizer)
        if self.finished and fingerprint != self.tokenizer:
            raise UserError(
                f"{tokenizer} is not the tokenizer of the finished shards beside it; restore it from a copy, or begin "
                "in a new folder."
            )
        self.tokenizer, self.dtype = fingerprint, dtype_of(vocabulary.size)
        self.write()

    def write_folder(self, vocabulary: Vocabulary, root: str, complete: bool) -> Folder:
        """Write and return the record of the folder of tokens.

        Args:
            vocabulary: vocabulary of the tokens.
            root: path of the input.
            complete: whether all units are finished.

        Raises:
            OSError: the file cannot be written.
        """
        assert self.tokenizer is not None
        assert self.dtype is not None
        counts = self.counts
        folder = Folder(
            path=self.folder,
            dtype=self.dtype,
            vocab_size=vocabulary.size,
            end=vocabulary.end,
            tokenizer=BYTES if self.tokenizer == fingerprint_of(None) else TOKENIZER,
            fingerprint=Fingerprint(f"{counts.digest:032x}", self.tokenizer),
            input=Input(root, counts.bytes, counts.documents, counts.invalid_bytes),
            shards=tuple(
                sorted((one for unit in self.finished.values() for one in unit.shards), key=lambda one: one.name)
            ),
            complete=complete,
        )
        with replacing(self.folder / RECORD) as temporary:
            temporary.write_text(folder.record(), encoding="utf-8")
        return folder


def options_of(config: PrepareConfig, plan: Plan, tokenizer: str) -> dict[str, str]:
    """Return the options that decide the content of the shards, and what the input holds, as text."""
    return {
        "input": f"{plan.files:,} files of {plan.bytes:,} bytes ({plan.digest})",
        "column": config.column,
        "include": str(config.include),
        "exclude": str(config.exclude),
        "validation": str(config.validation),
        "shard_bytes": str(config.shard_bytes),
        "tokenizer": tokenizer,
    }


def opened(folder: Path, options: dict[str, str]) -> State:
    """Return the state of a folder that was begun with these options, or a new one if the folder has no shards.

    Units whose shards were deleted or cut off are not finished. The tokenizer of a folder without shards is removed if
    the folder was begun with other options, such as a column that does not exist.

    Raises:
        UserError: the folder has other files, was begun with other options, or its record is damaged.
    """
    path = folder / STATE
    if not path.exists():
        if others := sorted(file.name for file in folder.iterdir() if file.name != LOCK):
            raise UserError(
                f"output={folder} has files that nas.prepare did not write, such as {others[0]}; give a new folder."
            )
        return State(folder, options)
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        before, dtype = dict(given["options"]), given["dtype"]
        known = {unit["number"]: _finished(unit) for unit in given["finished"]}
        whole = {number: unit for number, unit in known.items() if _is_whole(folder, unit, dtype)}
        state = State(folder, options, whole, given["tokenizer"], dtype)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete the folder {folder} and begin anew.") from error
    changed = next((name for name, value in options.items() if before.get(name) != value), None)
    if changed is None:
        return state
    if known:
        raise UserError(
            f"output={folder} was begun with another {changed}: {before.get(changed)}, and now it is "
            f"{options[changed]}; give the same input and options to continue, or a new folder."
        )
    (folder / TOKENIZER).unlink(missing_ok=True)
    return State(folder, options)


def _is_whole(folder: Path, unit: Finished, dtype: str) -> bool:
    """Return whether the shards of a unit still have their tokens; a unit that has not is encoded anew."""
    try:
        for shard in unit.shards:
            check_shard(folder, shard, dtype)
    except UserError:
        return False
    return True


def _finished(unit: dict[str, Any]) -> Finished:
    return Finished(unit["number"], [Shard(**shard) for shard in unit["shards"]], Counts(**unit["counts"]))
