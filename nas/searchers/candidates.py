"""The scored architectures of a search, each stored in the run folder at once, so that none is scored twice."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from nas.runs.candidate import Candidate
from nas.runs.folder import CANDIDATES, Run
from nas.search_spaces.space import Code, Space


class Candidates:
    """The candidates of a run, including those from before a resumption; UserError if their file is damaged.

    Args:
        run: run folder that stores the candidates.
        space: space of the candidates.
    """

    def __init__(self, run: Run, space: Space) -> None:
        self._run = run
        self._found = {candidate.code: candidate for candidate in _read(run, space)}

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._found.values())

    def get(self, code: Code) -> Candidate | None:
        """Return the candidate of a code; None if the code was not scored."""
        return self._found.get(code)

    def add(self, candidate: Candidate) -> None:
        """Add a candidate and store it."""
        self._found[candidate.code] = candidate
        self._run.write_json(CANDIDATES, [asdict(one) for one in self])


def _read(run: Run, space: Space) -> list[Candidate]:
    def read(entries: Any) -> list[Candidate]:
        found = []
        for entry in entries:
            given = {name: entry[name] for name in ("quality", "loss", "cost", "seconds")}
            figures = {name: math.nan if value is None else float(value) for name, value in given.items()}
            found.append(Candidate.named(space, space.encode(space.decode(tuple(entry["code"]))), **figures))
        return found

    return run.stored(CANDIDATES, read, "to score its candidates again") or []
