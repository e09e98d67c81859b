"""Make the corpus of the study from an archive of the sources of Linux: tokens for training, text for evaluation.

    apt-get download linux-source-6.12 && dpkg-deb -x linux-source-6.12*.deb linux
    python -m experiments.small_lm.corpus linux/usr/src/linux-source-6.12.tar.xz outputs/corpus

`config.yaml` says which files are read, and which subsystems are held out. OUT then has the folders ``text`` (what is
trained on), ``tokens`` (the same as `nas.prepare` leaves it) and ``held_out`` (text of the subsystems that no training
sees). The same command continues after an interruption.
"""

import argparse
import io
import json
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from experiments import runs
from nas.data.shards.folder import Folder
from nas.errors import UserError
from nas.files.saving import replacing
from nas.runs.folder import cannot_write, read_json

HERE = Path(__file__).parent
TEXT, HELD_OUT, TOKENS = "text", "held_out", "tokens"
"""Folders of a corpus."""
RECORD = "extracted.json"
EVERY = 10_000
"""Files after which the progress is printed."""


def main() -> None:
    """Parse the command line, extract the archive and prepare its tokens."""
    parser = argparse.ArgumentParser(prog="python -m experiments.small_lm.corpus", description=__doc__.split("\n")[0])
    parser.add_argument("archive", type=Path, help="tar archive with the sources of Linux, compressed or not")
    parser.add_argument("out", type=Path, help="folder of the corpus")
    parser.add_argument("overrides", nargs="*", help="options of nas.prepare, for example workers=8")
    given = parser.parse_args()
    settings = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))["corpus"]
    make(given.archive, given.out, settings, given.overrides)


def make(archive: Path, out: Path, settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
    """Make the corpus of an archive; what is finished is not repeated.

    Args:
        archive: tar archive, whose files lie in one folder.
        out: folder of the corpus.
        settings: section ``corpus`` of config.yaml.
        overrides: further options of nas.prepare.

    Raises:
        UserError: the archive cannot be read, or has no file for training or none that is held out.
    """
    counts = _extracted(archive, out, settings)
    print("; ".join(f"{part}: {files:,} files, {size / 1e6:,.1f} MB" for part, (files, size) in counts.items()))
    options = [f"input={out / TEXT}", f"output={out / TOKENS}", f"tokenizer.vocab_size={settings['vocab_size']}"]
    runs.execute([sys.executable, "-m", "nas.prepare", *options, *overrides])
    tokens = sum(shard.tokens for shard in Folder.read(out / TOKENS).of("train"))
    print(f"{tokens:,} training tokens, {counts[TEXT][1] / max(1, tokens):.2f} bytes a token", flush=True)


def part_of(name: str, settings: Mapping[str, Any]) -> str | None:
    """Return the folder for a file, `TEXT` or `HELD_OUT`; None for a file that is not read.

    Args:
        name: path of the file in the sources.
        settings: section ``corpus`` of config.yaml.

    >>> part_of("fs/ext4/inode.c", {"files": ["*.c"], "left_out": [], "held_out": ["fs/ext4"]})
    'held_out'
    """
    if not any(fnmatchcase(name, pattern) for pattern in settings["files"]) or _within(name, settings["left_out"]):
        return None
    return HELD_OUT if _within(name, settings["held_out"]) else TEXT


def _within(name: str, folders: Sequence[str]) -> bool:
    return any(PurePosixPath(name).is_relative_to(folder) for folder in folders)


def _extracted(archive: Path, out: Path, settings: Mapping[str, Any]) -> dict[str, list[int]]:
    """Extract the files of both parts, unless that is done; return the number of files and of bytes of each part."""
    wanted = {name: settings[name] for name in ("files", "left_out", "held_out")}
    done = read_json(out / RECORD)
    if isinstance(done, dict) and done.get("settings") == wanted:
        counts: dict[str, list[int]] = done["counts"]
        return counts
    if done is not None:
        raise UserError(f"{out} was made with other files or held-out folders; give a new folder.")
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, content in _files(archive):
        if (part := part_of(name, settings)) is None:
            continue
        path = out / part / name
        if not path.exists() or path.stat().st_size != len(content):
            with cannot_write(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        files[part] += 1
        sizes[part] += len(content)
        if files.total() % EVERY == 0:
            print(f"{files.total():,} files, {sizes.total() / 1e6:,.0f} MB", flush=True)
    if missing := [part for part in (TEXT, HELD_OUT) if not sizes[part]]:
        raise UserError(f"{archive} has no files for {missing[0]}; give the sources of Linux, see config.yaml.")
    counts = {part: [files[part], sizes[part]] for part in (TEXT, HELD_OUT)}
    with replacing(out / RECORD) as temporary:
        temporary.write_text(json.dumps({"settings": wanted, "counts": counts}) + "\n", encoding="utf-8")
    return counts


def _files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path, without the first folder, and the content of each file of an archive."""
    try:
        with tarfile.open(archive, "r|*") as opened:
            for member in opened:
                _, _, name = member.name.removeprefix("./").partition("/")
                if member.isfile() and name and ".." not in PurePosixPath(name).parts:
                    yield name, (opened.extractfile(member) or io.BytesIO()).read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive} cannot be read ({error}); give a tar archive with the sources of Linux.") from error


if __name__ == "__main__":
    sys.exit(runs.status_of(main))
