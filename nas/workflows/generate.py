"""A generation: the model of a finished run continues prompts."""

import json
import sys
from collections.abc import Sequence

from rich.console import Console

from nas.config import GenerateConfig
from nas.console import say
from nas.data.shards.vocabulary import Vocabulary, vocabulary_of
from nas.errors import INTERRUPTED, UserError, user_errors
from nas.generation.continuation import Continuation, IdContinuation, TextContinuation
from nas.generation.prompts import Prompt, read_prompts
from nas.generation.sampling import Sampler
from nas.generation.stream import generate as continue_prompts
from nas.models.decoding import Decoder
from nas.results.opened import open_trained
from nas.shares.thresholds import threshold_of

ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}
"""What two characters in a stop text stand for."""


def generate(config: GenerateConfig, console: Console) -> int:
    """Run the command and return its exit status."""
    assert config.run is not None
    opened = open_trained("run", config.run, config.device)
    vocabulary = vocabulary_of(opened.task)
    prompts = read_prompts(config, vocabulary, opened.task.name, opened.task.vocab_size)
    continuations = [_continuation(config.stop, vocabulary) for _ in prompts]
    policy = opened.policy if config.share is None else threshold_of(opened, config.share).policy
    tokens = [prompt.tokens for prompt in prompts]
    sampler = Sampler(tokens, config.temperature, config.top_p, config.seed)
    output = _Stream() if config.prompts is None else _Lines(prompts, continuations)
    try:
        with opened.autocast(), user_errors():
            decoder = Decoder(opened.trained, policy)
            speed = continue_prompts(
                decoder, tokens, sampler, continuations, config.max_tokens, opened.device, output.show
            )
    except KeyboardInterrupt:
        output.close()
        return INTERRUPTED
    output.close()
    say(Console(stderr=True), str(speed))
    return 0


def _continuation(stop: str | None, vocabulary: Vocabulary | None) -> Continuation:
    """Return an empty continuation that ends at a text, or at a token id if tokens are no text."""
    if stop is None:
        return IdContinuation() if vocabulary is None else TextContinuation(vocabulary)
    if vocabulary is not None:
        for given, meant in ESCAPES.items():
            stop = stop.replace(given, meant)
        return TextContinuation(vocabulary, stop)
    try:
        return IdContinuation(int(stop))
    except ValueError as error:
        raise UserError(f"stop={stop} is a text, but the tokens of the run are no text; give a token id.") from error


class _Stream:
    """Prints the text of one sequence as it comes."""

    def show(self, row: int, text: str) -> None:
        print(text, end="", flush=True)

    def close(self) -> None:
        print(flush=True)


class _Lines:
    """Prints a line of JSON for each sequence, in order, as soon as it and those before it are finished."""

    def __init__(self, prompts: Sequence[Prompt], continuations: Sequence[Continuation]) -> None:
        self._prompts, self._continuations = prompts, continuations
        self._texts = [""] * len(prompts)
        self._printed = 0

    def show(self, row: int, text: str) -> None:
        self._texts[row] += text
        while self._printed < len(self._texts) and self._continuations[self._printed].finished:
            self._print()

    def close(self) -> None:
        while self._printed < len(self._texts):
            self._print()

    def _print(self) -> None:
        prompt, own = self._prompts[self._printed], self._continuations[self._printed]
        line = {"prompt": prompt.text, "text": self._texts[self._printed], "finished": own.finished}
        is_utf = (sys.stdout.encoding or "").lower().startswith("utf")  # other encodings may lack a character
        print(json.dumps(line, ensure_ascii=not is_utf), flush=True)
        self._printed += 1
