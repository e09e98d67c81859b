"""State tracking: say after every symbol in which state the symbols so far lead.

The state is a running sum modulo some number, where each symbol is what it adds. That is the word problem of a cyclic
group, set up as Merrill et al. (2024, arXiv 2404.08819) do: the state is to be predicted at every position. Parity is
the sum of bits modulo 2.

No linear RNN of finite precision whose state transitions have positive eigenvalues alone computes parity at every
length, and none whose transitions are triangular counts modulo 3 (Grazzi et al. 2025, arXiv 2411.12537). Gated DeltaNet
with a write strength in (0, 1) has positive eigenvalues alone: where it solves this task at the training length, it
need not at longer ones. With strengths in (0, 2) it has negative ones too: ``model.negative_eigenvalues``, which
``data=state_tracking`` sets. Sums modulo more than 2 take rotations, which one reflection a token cannot make: there
negative eigenvalues have been found to harm (experiments/token_vs_hand).
"""

import torch

from nas.data.batch import Batch, Part
from nas.data.stream import Stream, halvings, pick
from nas.errors import UserError

PROBLEMS = ("parity", "modular")


class StateTracking(Stream):
    """An endless, seeded stream of sums; implements `nas.data.batch.Task`. Symbols and states are the same tokens.

    Args:
        problem: "parity", sums modulo 2, or "modular", sums modulo ``modulus``.
        modulus: of "modular", 2 or more: with 1 there is one state, and nothing to track.
        length: symbols in a sequence at full difficulty; min_length at the least.
        batch_size: sequences in a batch.
        validation_batches: batches to validate on, all at full length.
        seed: seed of everything drawn.
    """

    name: str = "state_tracking"
    quality: str = "accuracy"

    def __init__(
        self,
        *,
        problem: str,
        modulus: int,
        length: int,
        min_length: int,
        batch_size: int,
        validation_batches: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size=batch_size, validation_batches=validation_batches, seed=seed)
        if problem not in PROBLEMS:
            raise UserError(f"data.problem={problem} is unknown; choose one of: {', '.join(PROBLEMS)}.")
        self._lengths = halvings("length", length, min_length)
        self.vocab_size = 2 if problem == "parity" else modulus

    def token_text(self, token: int) -> str:
        """What the symbol adds."""
        return str(token)

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        return self._draw(pick(self._lengths, random), size, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        return self._draw(self._lengths[0] * length_factor, size, random)

    def _draw(self, length: int, size: int, random: torch.Generator) -> Batch:
        symbols = torch.randint(self.vocab_size, (size, length), generator=random)
        return Batch(tokens=symbols, targets=symbols.cumsum(1) % self.vocab_size, planted=None)
