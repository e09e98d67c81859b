"""State tracking: predict after every symbol the state that the symbols so far lead to.

The state is the running sum of the symbols modulo some number. That is the word problem of a cyclic group, set up as in
Merrill et al. (2024, arXiv 2404.08819): the state is to be predicted at every position. Parity is the sum of bits
modulo 2.

No linear RNN of finite precision computes parity at every length if its state transitions have only positive
eigenvalues. None with triangular transitions counts modulo 3 (Grazzi et al. 2025, arXiv 2411.12537). Gated DeltaNet
with a write strength in (0, 1) has only positive eigenvalues: it may solve this task at the training length and fail at
longer ones. With strengths in (0, 2) it has negative eigenvalues too: ``model.negative_eigenvalues``, which
``data=state_tracking`` sets. Sums modulo more than 2 need rotations, which one reflection per token cannot express:
there negative eigenvalues lowered the quality (experiments/token_vs_hand).
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
        modulus: modulus of "modular", at least 2: modulo 1 there is only one state.
        length, min_length: largest and smallest number of symbols in a sequence.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches, all at full length.
        seed: seed of all random draws.
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
        """Return the symbol's summand."""
        return str(token)

    def chance(self) -> float:
        """Return the accuracy of a guess among all states."""
        return 1 / self.vocab_size

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        return self._draw(pick(self._lengths, random), size, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        return self._draw(self._lengths[0] * length_factor, size, random)

    def _draw(self, length: int, size: int, random: torch.Generator) -> Batch:
        symbols = torch.randint(self.vocab_size, (size, length), generator=random)
        return Batch(tokens=symbols, targets=symbols.cumsum(1) % self.vocab_size, planted=None)
