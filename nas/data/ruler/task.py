"""Six tasks of RULER at token level, for small models that are trained on them.

    problem              context                              answer                          in RULER
    single               a needle among noise                 its value, a number             niah_single
    multikey_2           needles only, numbers by words       the value of the given key      niah_multikey_2
    multikey_3           needles only, symbols by symbols     the value of the given key      niah_multikey_3
    variable_tracking    assignments among noise              all variables with a value      vt
    common_words         words, of which four are common      these words                     cwe
    frequent_words       words by a Zeta distribution         the three most frequent words   fwe

After Hsieh et al. 2024 (arXiv 2404.06654) and https://github.com/NVIDIA/RULER. There the context is text and models are
tuned to follow instructions. Here a token is a whole word, digit or sign, out of a vocabulary of 147 tokens by default,
and the answer is masked as in `nas.data.recall`. A context can have any length; needles, assignments and words stand
at any token. As in RULER the value of a needle is correct only as a whole, and other answers count by their parts.
"""

import torch

from nas.data.batch import IGNORE, Batch, Part
from nas.data.ruler.needles import MULTIKEY_2, MULTIKEY_3, SINGLE, Needles
from nas.data.ruler.problem import IS, QUESTION, Problem, Vocabulary
from nas.data.ruler.variables import Variables
from nas.data.ruler.words import CommonWords, FrequentWords
from nas.data.stream import Stream, pick, training_lengths
from nas.errors import UserError

PROBLEMS = {
    "single": lambda vocabulary: Needles(SINGLE, vocabulary),
    "multikey_2": lambda vocabulary: Needles(MULTIKEY_2, vocabulary),
    "multikey_3": lambda vocabulary: Needles(MULTIKEY_3, vocabulary),
    "variable_tracking": Variables,
    "common_words": CommonWords,
    "frequent_words": FrequentWords,
}
"""The problems by name, each made from the vocabulary."""


class Ruler(Stream):
    """An endless, seeded stream of one of RULER's tasks; implements `nas.data.batch.Task`.

    Args:
        problem: one of `PROBLEMS`.
        words, noise: number of different words and noise tokens.
        distractors: further needles of "single", or further chains of "variable_tracking"; shorter training sequences
            have as many as fit.
        length: tokens in a sequence at full difficulty, question and answer included. Training also draws its halvings
            down to min_length.
        min_length: shortest training sequence; None for the smallest multiple of 64 that fits.
        batch_size: sequences in a batch.
        validation_batches: number of validation batches, all at full length.
        seed: seed of all random draws.
    """

    name: str = "ruler"

    def __init__(
        self,
        *,
        problem: str,
        words: int,
        noise: int,
        distractors: int,
        length: int,
        min_length: int | None,
        batch_size: int,
        validation_batches: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size=batch_size, validation_batches=validation_batches, seed=seed)
        if problem not in PROBLEMS:
            raise UserError(f"data.problem={problem} is unknown; choose one of: {', '.join(PROBLEMS)}.")
        self._vocabulary = Vocabulary(words, noise)
        self._problem: Problem = PROBLEMS[problem](self._vocabulary)
        self._distractors = distractors
        self.vocab_size, self.quality = self._vocabulary.size, self._problem.quality
        self._lengths = training_lengths(length, min_length, self._problem.least + self._outside, f"problem={problem}")
        self._check_distractors(problem, length)

    def token_text(self, token: int) -> str:
        """Return a sign, a symbol, or w or n (word, noise) and its number."""
        return self._vocabulary.text(token)

    def chance(self) -> float:
        """Return the quality of a model that ignores its input."""
        return self._problem.chance()

    @property
    def _outside(self) -> int:
        """Tokens of a sequence after the context; the last token of the answer is a target alone."""
        return 1 + self._problem.asked + self._problem.answered

    def _check_distractors(self, problem: str, length: int) -> None:
        """Raise UserError if there is no room for all distractors, or the problem has none."""
        room, given = self._problem.room(length - self._outside), f"data.distractors={self._distractors}"
        if room is None and self._distractors:
            raise UserError(
                f"{given} has no effect with data.problem={problem}; give 0, or choose problem=single or "
                "problem=variable_tracking."
            )
        if room is not None and self._distractors > room:
            raise UserError(
                f"{given} do not fit: data.length={length} and data.words={self._vocabulary.words} have room for "
                f"{room} with data.problem={problem}; give at most {room}, or more for data.length or data.words."
            )

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        return self._draw(pick(self._lengths, random), size, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        return self._draw(self._lengths[0] * length_factor, size, random)

    def _draw(self, length: int, size: int, random: torch.Generator) -> Batch:
        """Draw ``size`` sequences of ``length`` + 1 tokens, of which a model sees all but the last."""
        context = length - self._outside
        distractors = min(self._distractors, self._problem.room(context) or 0)
        drawn = self._problem.draw(context, distractors, size, random)
        signs = (torch.full((size, 1), sign) for sign in (QUESTION, IS))
        given = torch.cat([drawn.context, next(signs), drawn.question, next(signs), drawn.answer], dim=1)
        targets = torch.full((size, length), IGNORE)
        targets[:, -self._problem.answered :] = drawn.answer
        planted = drawn.planted
        if planted is not None:
            planted = torch.nn.functional.pad(planted, (0, self._outside))
        return Batch(given[:, :-1].contiguous(), targets, planted)
