"""Random streams identified by a key: draws depend on the key alone, never on earlier draws.

So a resumed run sees the batches of an uninterrupted run.
"""

import hashlib

import torch


def generator(*key: int | str) -> torch.Generator:
    """Return a new CPU generator for a key: the same on every machine, independent for different keys.

    >>> import torch
    >>> draws = [torch.randint(100, (3,), generator=generator(seed, "train", 7)) for seed in (0, 0, 1)]
    >>> torch.equal(draws[0], draws[1]), torch.equal(draws[0], draws[2])
    (True, False)
    """
    return torch.Generator().manual_seed(stable_seed(*key))


def seed_default(device: torch.device, *key: int | str) -> None:
    """Seed PyTorch's own generators, of the CPU and of ``device``, for a key.

    ``torch.manual_seed`` would seed every kind of device instead, which takes a millisecond.
    """
    seed = stable_seed(*key)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


def stable_seed(*key: int | str) -> int:
    """Return a 64-bit seed for a key, the same in every process (Python's own hash of a string is not)."""
    parts = [part if isinstance(part, str) else int(part) for part in key]
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
