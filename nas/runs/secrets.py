"""Mask passwords of storage URLs, which must not stand in files, pages or messages."""

import os
import re
from collections.abc import Sequence
from typing import Any

PASSWORD = re.compile(r"(?<=://)([^:@/]*):.*@")
"""User, colon and password of a URL, up to the last "@": one in the password belongs to it."""
IN_QUERY = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)
"""A password as a parameter of a URL, such as ?password=... of PostgreSQL's drivers."""
VARIABLE = "NAS_SWEEP_STORAGE"
"""Environment variable with a storage, for a URL with a password, which a command line would show to other users."""
STORAGE = "sweep.storage"
"""The option whose value may have a password."""


def masked(url: str) -> str:
    """Return a URL with its password masked.

    >>> masked("postgresql+psycopg://me:p@ss/word@host/name")
    'postgresql+psycopg://me:***@host/name'
    """
    return IN_QUERY.sub(r"\1***", PASSWORD.sub(r"\1:***@", url))


def storage_of_environment() -> str | None:
    """Return the storage in the environment variable `VARIABLE`; None if it is not set."""
    return os.environ.get(VARIABLE) or None


def masked_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line with the password of `STORAGE` masked."""
    return [masked(given) if given.lstrip("+").startswith(f"{STORAGE}=") else given for given in arguments]


def masked_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the plain values of a config with the password of `STORAGE` masked."""
    sweep = config.get("sweep")
    if not isinstance(sweep, dict) or not isinstance(sweep.get("storage"), str):
        return config
    return config | {"sweep": sweep | {"storage": masked(sweep["storage"])}}
