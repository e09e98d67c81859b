"""The plan of a corpus: pieces of files, grouped into units of similar size; a unit becomes one shard of each part.

The plan depends on the files and options alone, not on the number of workers, so that a run that continues makes the
same shards.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, Self

from nas.data.encodings import Names, encoding_of
from nas.data.files import JSON_LINES, PARQUET_ENDING, list_names
from nas.data.tables import check_column, parquet_file
from nas.errors import UserError
from nas.options.preparing import PrepareConfig

UNITS = 64
"""Smallest number of units of a large corpus, so that many workers have work."""
SMALL = 2**22
"""Bytes of text below which a corpus is not split into more units."""
NAMES = Names("input", "column")
"""The options of the command that messages name."""
SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files by which a folder is recognised as a saved data set of the package datasets."""
DATASETS = "nas-hybrid-attention[datasets]"
"""Requirement that installs what reading a saved data set needs."""


class Piece(NamedTuple):
    """A part of one file that one worker reads.

    Attributes:
        kind: text, json, parquet or rows.
        name: path of the file inside the input; of a saved data set the name of the split.
        start: first byte of a JSON Lines file, row group of a Parquet file, or row of a data set.
        stop: the end of this range, excluded.
        size: bytes of text, approximately for tables.
    """

    kind: str
    name: str
    start: int
    stop: int
    size: int


class _File(NamedTuple):
    """A file of the input: its path inside, its bytes, and when it was changed, in ns."""

    name: str
    size: int
    changed: int

    @classmethod
    def of(cls, root: str, name: str) -> Self:
        state = os.stat(os.path.join(root, name))
        return cls(name, state.st_size, state.st_mtime_ns)


@dataclass(frozen=True)
class Plan:
    """The units of a corpus.

    Attributes:
        root: the folder of all files.
        units: pieces of each unit.
        files: number of files.
        bytes: bytes of text, approximately for tables.
        digest: hash of the names, sizes and times of change of all files.
    """

    root: str
    units: list[list[Piece]]
    files: int
    bytes: int
    digest: str


def plan(config: PrepareConfig) -> Plan:
    """Return the plan of the input of a config; raise UserError if the input cannot be read or has no files."""
    root, alone = os.path.abspath(config.input), os.path.isfile(config.input)
    try:
        saved = any(os.path.isfile(os.path.join(root, name)) for name in SAVED)
        names = [name for name in list_names(root) if saved or _is_wanted(name, config)]
        root = os.path.dirname(root) if alone else root
        known = [_File.of(root, name) for name in names]
        if saved:
            pieces = list(_of_data_set(root, config.column))
        else:
            pieces = [
                one for file in known for one in of_file(root, file.name, file.size, config.column, config.shard_bytes)
            ]
    except FileNotFoundError as error:
        raise UserError(f"input={config.input}: there is no {error.filename!r}; give a file or folder.") from error
    except OSError as error:
        raise UserError(f"input={config.input} cannot be read ({error}); give a readable file or folder.") from error
    size = sum(piece.size for piece in pieces)
    if not size:
        patterns = f" that include={config.include} and exclude={config.exclude} leave" * bool(
            config.include or config.exclude
        )
        raise UserError(f"input={config.input} holds no text: no file{patterns}, or empty ones; give text.")
    target = min(config.shard_bytes, max(SMALL, -(-size // UNITS)))
    digest = hashlib.blake2b(digest_size=16)
    for file in known:
        digest.update(os.fsencode(f"{file.name}\0{file.size} {file.changed}\n"))
    return Plan(root, _grouped(pieces, target), len(known), size, digest.hexdigest())


def _is_wanted(name: str, config: PrepareConfig) -> bool:
    included = not config.include or any(fnmatchcase(name, pattern) for pattern in config.include)
    return included and not any(fnmatchcase(name, pattern) for pattern in config.exclude)


def of_file(root: str, name: str, size: int, column: str, most: int = SMALL, names: Names = NAMES) -> Iterator[Piece]:
    """Yield the pieces of a file; JSON Lines and Parquet files are split, so that several workers read one.

    Args:
        root: folder of the file.
        name: path of the file inside the folder.
        size: bytes of the file.
        column: column of a table that has the text.
        most: largest number of bytes of a piece of JSON Lines, if it is less than `SMALL`.
        names: options that messages name.

    Raises:
        UserError: a Parquet file is damaged, or has no such column of text.
        OSError: the file cannot be read.
    """
    path = Path(root, name)
    ending = path.suffix.lower()
    if ending in JSON_LINES:
        with open(path, "rb") as opened:
            splits = encoding_of(opened.read(4)).startswith("utf-8")
        step = min(SMALL, most) if splits else max(size, 1)
        for start in range(0, size, step):
            stop = min(start + step, size)
            yield Piece("json", name, start, stop, stop - start)
    elif ending == PARQUET_ENDING:
        yield from _of_parquet(path, name, column, names)
    else:
        yield Piece("text", name, 0, size, size)


def _of_parquet(path: Path, name: str, column: str, names: Names) -> Iterator[Piece]:
    with parquet_file(path, names) as table:
        check_column(table, path, column, names)
        index = [table.metadata.schema.column(own).path for own in range(table.metadata.num_columns)].index(column)
        for group in range(table.num_row_groups):
            size = table.metadata.row_group(group).column(index).total_uncompressed_size
            yield Piece("parquet", name, group, group + 1, size)


def _of_data_set(root: str, column: str) -> Iterator[Piece]:
    """Yield the pieces of a saved data set."""
    for name, split in splits_of(root).items():
        kind = getattr(split.features.get(column), "dtype", None)
        if kind not in ("string", "large_string"):
            raise UserError(
                f"column={column} is not a column of text in {root}: its columns are {', '.join(split.features)}; "
                "give a column of text."
            )
        rows = max(len(split), 1)
        size = split.select_columns([column]).data.nbytes * len(split) // max(split.data.num_rows, 1)
        step = max(1, min(rows, rows * SMALL // max(size, 1)))
        for start in range(0, len(split), step):
            stop = min(start + step, rows)
            yield Piece("rows", name, start, stop, max(1, size * (stop - start) // rows))


def splits_of(root: str) -> dict[str, Any]:
    """Return the splits of a saved data set by name, each a memory-mapped ``datasets.Dataset``."""
    try:
        from datasets import Dataset, load_from_disk
    except ImportError as error:
        raise UserError(
            f"input={root} is a saved data set, which needs the package datasets; install {DATASETS}, or convert it "
            "to Parquet."
        ) from error
    try:
        loaded = load_from_disk(root)
    except Exception as error:  # its formats raise many classes
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"input={root} is not a data set that this version of datasets reads ({reason}); repair it, or convert it "
            "to Parquet."
        ) from error
    return {"": loaded} if isinstance(loaded, Dataset) else dict(loaded)


def _grouped(pieces: Sequence[Piece], target: int) -> list[list[Piece]]:
    """Return consecutive pieces in units; adjacent ranges of one file are joined."""
    units: list[list[Piece]] = []
    size: float = math.inf
    for piece in pieces:
        if size + piece.size > target and size > 0:
            units.append([])
            size = 0
        unit, size = units[-1], size + piece.size
        if unit and unit[-1].name == piece.name and unit[-1].stop == piece.start and piece.kind != "text":
            unit[-1] = unit[-1]._replace(stop=piece.stop, size=unit[-1].size + piece.size)
        else:
            unit.append(piece)
    return units
