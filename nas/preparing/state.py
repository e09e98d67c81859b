"""The record of a run of `nas.prepare`: its options, and the units that are finished.

The record of the folder of tokens follows from it and is written after each unit, so that finished shards can be used
at any time.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.data.shards.folder import RECORD, TOKENIZER, Fingerprint, Folder, Input, Shard, fingerprint_of
from nas.data.shards.vocabulary import Vocabulary
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
    """

    folder: Path
    options: dict[str, str]
    finished: dict[int, Finished] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """Return what the documents of the finished units add up to."""
        return sum((unit.counts for unit in self.finished.values()), Counts())

    def write(self) -> None:
        """Write the record.

        Raises:
            OSError: the file cannot be written.
        """
        done = [asdict(unit) for _, unit in sorted(self.finished.items())]
        with replacing(self.folder / STATE) as temporary:
            temporary.write_text(json.dumps({"options": self.options, "finished": done}) + "\n", encoding="utf-8")

    def tokens(self, vocabulary: Vocabulary, root: str, complete: bool) -> Folder:
        """Write and return the record of the folder of tokens.

        Args:
            vocabulary: vocabulary of the tokens.
            root: path of the input.
            complete: whether all units are finished.

        Raises:
            OSError: the file cannot be written.
        """
        tokenizer = self.folder / TOKENIZER
        trained = tokenizer.exists()
        counts = self.counts
        folder = Folder(
            path=self.folder,
            dtype=dtype_of(vocabulary.size),
            vocab_size=vocabulary.size,
            end=vocabulary.end,
            tokenizer=TOKENIZER if trained else "bytes",
            fingerprint=Fingerprint(f"{counts.digest:032x}", fingerprint_of(tokenizer if trained else None)),
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
        "validation": f"{config.validation:g}",
        "shard_bytes": str(config.shard_bytes),
        "tokenizer": tokenizer,
    }


def opened(folder: Path, options: dict[str, str]) -> State:
    """Return the state of a folder that was begun with these options, or a new one of an empty folder.

    Units whose shards were deleted or cut off are not finished.

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
        before = dict(given["options"])
        known = {unit["number"]: _finished(unit) for unit in given["finished"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete the folder {folder} and begin anew.") from error
    for name, value in options.items():
        if before.get(name) != value:
            raise UserError(
                f"output={folder} was begun with another {name}: {before.get(name)}, and now it is {value}; give the "
                "same input and options to continue, or a new folder."
            )
    return State(folder, options, {number: unit for number, unit in known.items() if _is_whole(folder, unit)})


def _is_whole(folder: Path, unit: Finished) -> bool:
    """Return whether the shards of a unit still have their tokens; a unit that has not is encoded anew."""
    try:
        sizes = [(folder / f"{shard.name}.bin").stat().st_size for shard in unit.shards]
        indexed = all((folder / f"{shard.name}.idx.npy").is_file() for shard in unit.shards)
    except FileNotFoundError:
        return False
    return indexed and all(
        size in (2 * shard.tokens, 4 * shard.tokens) for size, shard in zip(sizes, unit.shards, strict=True)
    )


def _finished(unit: dict[str, Any]) -> Finished:
    return Finished(unit["number"], [Shard(**shard) for shard in unit["shards"]], Counts(**unit["counts"]))
