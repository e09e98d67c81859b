"""The architectures that a searcher had scored: kept in the run folder one by one, so that none is scored twice."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Self

from nas.errors import UserError
from nas.evaluation.metrics import merit
from nas.runs.folder import CANDIDATES, Run
from nas.search_spaces.space import Code, Space, option_name


@dataclass(frozen=True)
class Candidate:
    """One architecture with the shared weights.

    Attributes:
        code: of the space.
        options: what each layer is, first to last.
        quality: figure of merit on the batches to choose by.
        loss: mean cross-entropy there, in nats.
        cost: relative to the dearest architecture, at the share of softmax chunks that its routers had there.
        seconds: that it took.
    """

    code: Code
    options: tuple[str, ...]
    quality: float
    loss: float
    cost: float
    seconds: float

    @classmethod
    def named(cls, space: Space, code: Code, quality: float, loss: float, cost: float, seconds: float) -> Self:
        """With the options of a code."""
        names = tuple(option_name(options[index]) for options, index in zip(space.options, code, strict=True))
        return cls(code, names, quality, loss, cost, seconds)

    def score(self, measure: str, within: bool) -> float:
        """What it is chosen by: its merit (`nas.evaluation.metrics.merit`); minus infinity if not within the budget."""
        return merit(measure, self.quality, self.loss) if within else -math.inf


class Candidates:
    """The candidates of a run, those of an earlier start included; UserError where their file is damaged.

    Args:
        run: whose folder holds them.
        space: that they are of.
    """

    def __init__(self, run: Run, space: Space) -> None:
        self._run = run
        self._found = {candidate.code: candidate for candidate in _read(run, space)}

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._found.values())

    def get(self, code: Code) -> Candidate | None:
        """The candidate of a code; None where it was not scored."""
        return self._found.get(code)

    def add(self, candidate: Candidate) -> None:
        """Keep one more."""
        self._found[candidate.code] = candidate
        self._run.write_json(CANDIDATES, [asdict(one) for one in self])


def _read(run: Run, space: Space) -> list[Candidate]:
    path = run.path / CANDIDATES
    try:
        found = []
        for entry in json.loads(path.read_text()) if path.exists() else []:
            given = {name: entry[name] for name in ("quality", "loss", "cost", "seconds")}
            figures = {name: math.nan if value is None else float(value) for name, value in given.items()}
            found.append(Candidate.named(space, space.encode(space.decode(tuple(entry["code"]))), **figures))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged; delete it and its candidates are scored again.") from error
    return found
