"""A task: say which symbol came two positions before."""

from dataclasses import dataclass

import torch
from omegaconf import MISSING

from nas.config import DataConfig
from nas.data import IGNORE, Batch, Part
from nas.plugins import register_task


@dataclass
class EchoConfig(DataConfig):
    """symbols: different ones; back: how far."""

    symbols: int = MISSING
    back: int = MISSING


class Echo:
    """Uniform symbols, each predicted ``back`` positions later."""

    name = "theirs"
    quality = "accuracy"

    def __init__(
        self, *, symbols: int, back: int, length: int, batch_size: int, validation_batches: int, seed: int
    ) -> None:
        if back >= length:
            raise ValueError(f"data.back={back} leaves nothing to predict in data.length={length}; give less.")
        self.vocab_size = symbols
        self._back, self._length, self._seed = back, length, seed
        self._size, self._count = batch_size, validation_batches

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        return self._draw(self._length, f"{part} {step}")

    def full_batch(self, step: int) -> Batch:
        return self.train_batch(step)

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        return [self._draw(self._length * length_factor, f"validation {index}") for index in range(self._count)]

    def selection_batches(self, count: int) -> list[Batch]:
        return [self._draw(self._length, f"selection {index}") for index in range(count)]

    def token_text(self, token: int) -> str:
        return str(token)

    def _draw(self, length: int, of: str) -> Batch:
        random = torch.Generator().manual_seed(self._seed + sum(of.encode()))
        tokens = torch.randint(self.vocab_size, (self._size, length), generator=random)
        targets = torch.full_like(tokens, IGNORE)
        targets[:, self._back :] = tokens[:, : -self._back]
        return Batch(tokens, targets, None)


register_task("theirs", Echo, EchoConfig)
