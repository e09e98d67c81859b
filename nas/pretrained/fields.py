"""The fields of a config.json, each checked as it is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import UserError

CONFIG = "config.json"


class Fields:
    """The fields of a JSON object from a stranger. Messages name the file and the field.

    Args:
        values: the object.
        where: the file, as text for messages.
        defaults: values of fields that may be missing.
    """

    def __init__(self, values: Mapping[str, Any], where: str, defaults: Mapping[str, Any] | None = None) -> None:
        self.values, self._where = {**(defaults or {}), **{k: v for k, v in values.items() if v is not None}}, where

    def refuse(self, name: str, advice: str) -> UserError:
        """Return the error for the value of a field."""
        return UserError(f"{self._where} has {name}={self.values.get(name)!r}; {advice}.")

    def count(self, name: str, default: int | None = None) -> int:
        """Return an integer of at least 1."""
        value = self.values.get(name, default)
        if value is None:
            raise UserError(f"{self._where} has no {name}; give the config.json that belongs to the weights.")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.refuse(name, "it must be an integer of at least 1")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a number over 0."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.refuse(name, "it must be a number over 0")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "it must be true or false")
        return value

    def text(self, name: str, default: str) -> str:
        """Return a text."""
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise self.refuse(name, "it must be a text")
        return value

    def group(self, name: str) -> "Fields | None":
        """Return the fields of an object in a field; None without it."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(name, "it must be an object")
        return Fields(value, f"{self._where}, {name},")

    def with_defaults(self, defaults: Mapping[str, Any]) -> "Fields":
        """Return the same fields with values for missing ones."""
        return Fields(self.values, self._where, defaults)


def read_config(folder: Path) -> Fields:
    """Return the fields of the config.json of a folder; UserError if there is none, or it is not a JSON object."""
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"model.path={folder}: there is no such folder; give the folder of a pretrained model.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"model.path={folder} has no {CONFIG}; give a folder that save_pretrained of transformers wrote, with "
            f"{CONFIG} and weights in .safetensors files."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); copy the folder again.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object; give the {CONFIG} that belongs to the weights.")
    return Fields(values, str(path))
