"""Exact sampling of next tokens: temperature, nucleus, and draws that depend on the sequence alone.

>>> import torch
>>> from nas.generation.sampling import drawn, probabilities
>>> logits = torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log()
>>> [round(each, 6) for each in probabilities(logits, temperature=1.0, top_p=0.7)[0].tolist()]
[0.666667, 0.333333, 0.0, 0.0]
>>> drawn(probabilities(logits, temperature=1.0, top_p=1.0), torch.tensor([0.76], dtype=torch.float64)).tolist()
[2]
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from nas.data.seeding import generator

BLOCK = 256
"""Number of draws of a sequence that are made together."""


def probabilities(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Return the probabilities [B, vocab] of the next token, float64.

    They are softmax(logits / temperature), then restricted to the nucleus: the smallest set of most probable tokens
    whose probabilities sum to at least ``top_p`` (Holtzman et al. 2020). Of equally probable tokens, those with smaller
    ids come first.

    Args:
        logits: [B, vocab].
        temperature: divisor of the logits, over 0.
        top_p: least probability of the nucleus, over 0 and at most 1.
    """
    each = (logits.double() / temperature).softmax(-1)
    if top_p == 1:
        return each
    ordered, order = each.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    kept = ordered.where(before < top_p, 0.0)
    return torch.zeros_like(each).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


def drawn(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Return tokens [B] by the inverse of the cumulative distribution.

    Args:
        probabilities: [B, vocab], float64.
        uniform: [B], uniform in [0, 1), float64.
    """
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1]
    # a product that rounds up to the total would select no token
    at = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
    return (cumulative > at[:, None]).byte().argmax(-1)


class Sampler:
    """Samples the next tokens of sequences, each with random numbers of its own.

    The random numbers of a sequence are a function of the seed, of its prompt, and of how many earlier sequences of the
    batch have the same prompt. So a prompt has the same continuation alone and in a batch, up to rounding of the
    logits, and equal prompts have different continuations.

    Args:
        prompts: tokens of each prompt.
        temperature: divisor of the logits; 0 selects the most probable token.
        top_p: see `probabilities`.
        seed: seed of the draws.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], temperature: float, top_p: float, seed: int) -> None:
        self._temperature, self._top_p = temperature, top_p
        self._keys: list[tuple[int | str, ...]] = []
        seen: Counter[str] = Counter()
        for prompt in prompts:
            digest = hashlib.sha256(repr(list(prompt)).encode()).hexdigest()
            self._keys.append((seed, "generate", digest, seen[digest]))
            seen[digest] += 1
        self._step = 0
        self._block: Tensor
        """Draws [B, BLOCK] on the device."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the next token [B] of each sequence for logits [B, vocab]; without waiting for a GPU."""
        if self._temperature == 0:
            return logits.argmax(-1)
        at = self._step % BLOCK
        if at == 0:
            block = self._step // BLOCK
            rows = [torch.rand(BLOCK, generator=generator(*key, block), dtype=torch.float64) for key in self._keys]
            self._block = torch.stack(rows).to(logits.device)
        self._step += 1
        return drawn(probabilities(logits, self._temperature, self._top_p), self._block[:, at])
