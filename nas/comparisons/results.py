"""What trainings of several architectures over several seeds came to: frozen, JSON in and out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

from nas.evaluation.metrics import HIGHER
from nas.runs.folder import plain

RESULTS = "comparison.json"
"""File of a comparison's folder that holds it."""
CONTEXT = 32768
"""Tokens at which cost is set against quality, where a comparison knows it."""
Key = TypeVar("Key")


class _Plain:
    """A frozen dataclass that goes to JSON; numbers that are not finite go as null and come back as nan,
    or as None where that is allowed.
    """

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; keys of objects are text."""
        made: dict[str, Any] = plain(self)
        return made


@dataclass(frozen=True)
class Trained(_Plain):
    """One training of an entrant, and what it was measured at.

    Attributes:
        seed: of the training.
        quality: by length factor, which is how many times the training length a sequence has.
        loss: mean cross-entropy in nats, by length factor.
        share: measured share of softmax chunks, by length factor.
        by_position: by length factor, the bits per byte of each segment of a sequence with the token it ends at;
            None where that says nothing.
        planted: "precision" and "recall" of the planted chunks; None where nothing is planted or routed.
        kv_bytes: bytes of keys, values and states, by context length in tokens.
        flops_per_token: forward FLOPs, by context length in tokens.
        training_flops: of the whole training.
        prefill_seconds: for each token of a prompt; None where it was not timed.
        decode_seconds: for each generated token; None where it was not timed.
        parameters: how many numbers were learnt.
    """

    seed: int
    quality: dict[int, float]
    loss: dict[int, float]
    share: dict[int, float]
    by_position: dict[int, list[tuple[int, float]]] | None
    planted: dict[str, float] | None
    kv_bytes: dict[int, float]
    flops_per_token: dict[int, float]
    training_flops: float
    prefill_seconds: float | None
    decode_seconds: float | None
    parameters: int

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Of a dict as `to_dict` makes it; ValueError names what is missing or unknown."""
        _check_fields(cls, given)
        by_position, planted = given["by_position"], given["planted"]
        return cls(
            seed=int(given["seed"]),
            quality=_keyed(int, given["quality"]),
            loss=_keyed(int, given["loss"]),
            share=_keyed(int, given["share"]),
            by_position=None
            if by_position is None
            else {int(factor): [(int(end), _number(bits)) for end, bits in of] for factor, of in by_position.items()},
            planted=None if planted is None else _keyed(str, planted),
            kv_bytes=_keyed(int, given["kv_bytes"]),
            flops_per_token=_keyed(int, given["flops_per_token"]),
            training_flops=_number(given["training_flops"]),
            prefill_seconds=_optional(given["prefill_seconds"]),
            decode_seconds=_optional(given["decode_seconds"]),
            parameters=int(given["parameters"]),
        )


@dataclass(frozen=True)
class Entrant(_Plain):
    """One architecture of a comparison.

    Attributes:
        name: that tables call it by.
        searched: True for what a search found, False for a baseline.
        learning_rate: of its trainings.
        tried: the merit of each learning rate of the grid that it was chosen from; larger is better.
        architecture: as plain values.
        runs: its trainings, one for each seed.
    """

    name: str
    searched: bool
    learning_rate: float
    tried: dict[float, float]
    architecture: dict[str, Any]
    runs: tuple[Trained, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its trainings, in their order."""
        return tuple(run.seed for run in self.runs)

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Of a dict as `to_dict` makes it; ValueError names what is missing or unknown."""
        _check_fields(cls, given)
        return cls(
            name=str(given["name"]),
            searched=bool(given["searched"]),
            learning_rate=float(given["learning_rate"]),
            tried=_keyed(float, given["tried"]),
            architecture=dict(given["architecture"]),
            runs=tuple(map(Trained.from_dict, given["runs"])),
        )


@dataclass(frozen=True)
class Comparison(_Plain):
    """Entrants that were trained on one task by one recipe, over the same seeds.

    Attributes:
        task: its name.
        quality: how it is measured, one of `nas.evaluation.metrics.HIGHER`.
        length: tokens of a training sequence.
        factors: of the lengths that were measured, times the training length; ascending.
        entrants: in the order of the tables.

    Raises:
        ValueError: the measure is unknown, two entrants share a name, their seeds differ, or a figure is missing.
    """

    task: str
    quality: str
    length: int
    factors: list[int]
    entrants: tuple[Entrant, ...]

    def __post_init__(self) -> None:
        if self.quality not in HIGHER:
            raise ValueError(f"quality={self.quality!r} is unknown; choose from: {', '.join(HIGHER)}.")
        if not self.entrants or not self.factors:
            raise ValueError("entrants or factors is empty; give at least one of each.")
        names = [entrant.name for entrant in self.entrants]
        if len(set(names)) < len(names):
            raise ValueError(f"entrants are named {', '.join(names)}; give each a name of its own.")
        seeds = self.entrants[0].seeds
        for entrant in self.entrants:
            if not entrant.runs or entrant.seeds != seeds or len(set(seeds)) < len(seeds):
                raise ValueError(
                    f"{entrant.name} was trained with seeds {list(entrant.seeds)} and {names[0]} with {list(seeds)}; "
                    "give each the same seeds in the same order, each once and at least one."
                )
            for run in entrant.runs:
                self._check_measured(entrant.name, run)

    def _check_measured(self, entrant: str, run: Trained) -> None:
        expected = dict.fromkeys(("quality", "loss", "share"), self.factors)
        expected |= dict.fromkeys(("kv_bytes", "flops_per_token"), self.contexts)
        for name, lengths in expected.items():
            if missing := [length for length in lengths if length not in getattr(run, name)]:
                raise ValueError(
                    f"{entrant}, seed {run.seed}, has no {name} for {missing[0]}; measure it for each of {lengths}."
                )

    @property
    def higher(self) -> bool:
        """Whether more of the quality is better."""
        return HIGHER[self.quality]

    @property
    def searched(self) -> tuple[Entrant, ...]:
        """What searches found."""
        return tuple(entrant for entrant in self.entrants if entrant.searched)

    @property
    def baselines(self) -> tuple[Entrant, ...]:
        """What was not searched."""
        return tuple(entrant for entrant in self.entrants if not entrant.searched)

    @property
    def contexts(self) -> list[int]:
        """Context lengths at which costs are known, ascending."""
        return sorted(self.entrants[0].runs[0].kv_bytes)

    @property
    def context(self) -> int:
        """The context length for cost against quality: `CONTEXT`, or the longest where that is not known."""
        return CONTEXT if CONTEXT in self.contexts else self.contexts[-1]

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Of a dict as `to_dict` makes it; ValueError names what is missing, unknown or does not fit."""
        _check_fields(cls, given)
        return cls(
            task=str(given["task"]),
            quality=str(given["quality"]),
            length=int(given["length"]),
            factors=[int(factor) for factor in given["factors"]],
            entrants=tuple(map(Entrant.from_dict, given["entrants"])),
        )


def _check_fields(cls: type[Any], given: Any) -> None:
    kind = cls.__name__
    if not isinstance(given, Mapping):
        raise ValueError(f"{kind} must be a JSON object, not {type(given).__name__}.")
    known = {field.name for field in fields(cls)}
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"{kind} has unknown fields {', '.join(unknown)}; it has: {', '.join(sorted(known))}.")
    if missing := sorted(known - given.keys()):
        raise ValueError(f"{kind} misses fields {', '.join(missing)}; it needs: {', '.join(sorted(known))}.")


def _keyed(key: Callable[[str], Key], given: Mapping[str, float | None]) -> dict[Key, float]:
    return {key(name): _number(value) for name, value in given.items()}


def _number(given: float | None) -> float:
    """A whole number stays one; null is nan."""
    return math.nan if given is None else given


def _optional(given: float | None) -> float | None:
    return None if given is None else float(given)
