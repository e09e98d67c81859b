"""The weights of a pretrained model, read from safetensors files. Reading them executes no code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.errors import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
CONVERT = (
    "python -c 'import sys, transformers; "
    "transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])'"
)
"""Command that writes a folder with safetensors, given the old and the new folder."""


class StoredWeights:
    """The weights of a folder by the names of the library `transformers`, read one at a time.

    Args:
        folder: folder with one safetensors file, or several and their index.

    Raises:
        UserError: there are no such files, or they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shapes: dict[str, tuple[Path, tuple[int, ...]]] = {}
        for path in _files(folder):
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118
                    self._shapes[name] = path, tuple(file.get_slice(name).get_shape())

    @property
    def names(self) -> set[str]:
        """The names of all weights."""
        return set(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a weight."""
        return self._shapes[name][1]

    def read(self, name: str) -> Tensor:
        """Return a weight; UserError if its numbers are not floating-point numbers of 16 bits or more."""
        path, _ = self._shapes[name]
        with _opened(path) as file:
            weight: Tensor = file.get_tensor(name)
        if weight.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            raise UserError(f"{path} has {name} in {weight.dtype}; save the model in bfloat16 or float32 first.")
        return weight


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}); copy the folder again.") from error


def _files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder."""
    if (index := folder / INDEX).exists():
        return _of_index(folder, index)
    if (single := folder / SINGLE).exists():
        return [single]
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise UserError(
            f"model.path={folder} has its weights in {pickled[0]}, a format that can execute code when it is read; if "
            f"you trust its origin, convert it to safetensors: {CONVERT} {folder} NEW_FOLDER"
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    has = f"has {', '.join(others)}, but" if others else "has no weights:"
    raise UserError(
        f"model.path={folder} {has} neither {SINGLE} nor {INDEX}; give a folder that save_pretrained of transformers "
        "wrote."
    )


def _of_index(folder: Path, index: Path) -> list[Path]:
    """Return the files that an index names. They must lie in the folder itself."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = sorted({folder / Path(name).name for name in names})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} cannot be read ({error}); copy the folder again.") from error
    if missing := [path.name for path in files if not path.is_file()]:
        raise UserError(f"{index} names {missing[0]}, which is not in the folder; copy the folder again.")
    return files
