"""Random streams named by a key, so that what is drawn depends on the key alone and never on what came before.

That is what lets a resumed run see the batches an uninterrupted one would have seen.
"""

import hashlib

import torch


def generator(*key: int | str) -> torch.Generator:
    """A fresh CPU generator for a key: the same on every machine, different keys unrelated.

    >>> import torch
    >>> draws = [torch.randint(100, (3,), generator=generator(seed, "train", 7)) for seed in (0, 0, 1)]
    >>> torch.equal(draws[0], draws[1]), torch.equal(draws[0], draws[2])
    (True, False)
    """
    return torch.Generator().manual_seed(stable_seed(*key))


def stable_seed(*key: int | str) -> int:
    """A 64-bit seed for a key, the same in every process (Python's own hash of a string is not)."""
    parts = [part if isinstance(part, str) else int(part) for part in key]
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
