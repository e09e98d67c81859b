"""The results of a comparison: frozen dataclasses that are written to JSON and read back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, TypeVar

from nas.evaluation.metrics import HIGHER
from nas.runs.folder import plain
from nas.search_spaces.architecture import Layer
from nas.search_spaces.placements import pattern

RESULTS = "comparison.json"
"""File in the run folder of a comparison with its results."""
CONTEXT = 32768
"""Context length in tokens for tables and figures of cost, if the comparison has costs at this length."""
Key = TypeVar("Key")


class _Plain:
    """A frozen dataclass that is written to JSON.

    Numbers that are not finite become null. They are read back as nan, or as None in fields that allow None.

    Attributes:
        KEYS: the JSON key of each field whose key differs from its name.
    """

    KEYS: ClassVar[Mapping[str, str]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; keys of objects are text."""
        return {self.KEYS.get(name, name): value for name, value in plain(self).items()}


@dataclass(frozen=True)
class Trained(_Plain):
    """One training of a contender, and its measured figures.

    Attributes:
        seed: the seed of the training.
        quality: quality by length factor, which is the sequence length over the training length.
        loss: mean cross-entropy in nats, by length factor.
        share: measured softmax share, by length factor.
        by_position: by length factor, pairs of the last token of a segment and the segment's bits; None if the
            quality is not in bits.
        planted: "precision" and "recall" of the planted chunks; None if no chunk is planted or routed.
        kv_bytes: bytes of keys, values and states, by context length in tokens.
        flops_per_token: forward FLOPs, by context length in tokens.
        training_flops: FLOPs of the whole training.
        prefill_seconds: seconds per token of a prompt; None if not timed.
        decode_seconds: seconds per generated token; None if not timed.
        parameters: number of parameters.
        margin: half the width of the 95 % confidence interval of the quality over validation sequences, by length
            factor; empty in results of earlier versions.
        late_gain: improvement of the validation quality in the last fifth of training, see
            `nas.comparisons.convergence`; None if it is not known.
        layers: the layers of the trained model as plain values; empty in results of earlier versions.
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
    margin: dict[int, float] = field(default_factory=dict)
    late_gain: float | None = None
    layers: tuple[dict[str, Any], ...] = ()

    @property
    def pattern(self) -> str:
        """The layers by letter, see `nas.search_spaces.placements.pattern`; empty if they are not known."""
        return pattern([Layer(**layer) for layer in self.layers])

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Build from the values of `to_dict`; ValueError names missing or unknown fields."""
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
            margin=_keyed(int, given.get("margin", {})),
            late_gain=_optional(given.get("late_gain")),
            layers=tuple(given.get("layers", ())),
        )


@dataclass(frozen=True)
class TrainedContender(_Plain):
    """One contender with its trainings.

    Attributes:
        name: its name in tables.
        searched: True if a search found it, False for a baseline.
        learning_rate: the learning rate of its trainings.
        tried: merit by learning rate of the grid; larger is better. Empty if there was nothing to choose.
        architecture: the architecture as plain values; that of the first seed if each training searched its own.
        runs: its trainings, one for each seed.
        placements: the baseline name of all placements, of which it is one; None for other contenders.
    """

    name: str
    searched: bool
    learning_rate: float
    tried: dict[float, float]
    architecture: dict[str, Any]
    runs: tuple[Trained, ...]
    placements: str | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the trainings, in their order."""
        return tuple(run.seed for run in self.runs)

    @property
    def patterns(self) -> dict[str, list[int]]:
        """The seeds of the trainings by pattern of layers, the most frequent pattern first."""
        found: dict[str, list[int]] = {}
        for run in self.runs:
            if run.layers:
                found.setdefault(run.pattern, []).append(run.seed)
        return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))

    @property
    def merit(self) -> float:
        """Return the merit of its learning rate on the tuning seeds; minus infinity if it was not tuned."""
        return self.tried.get(self.learning_rate, -math.inf)

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Build from the values of `to_dict`; ValueError names missing or unknown fields."""
        _check_fields(cls, given)
        return cls(
            name=str(given["name"]),
            searched=bool(given["searched"]),
            learning_rate=float(given["learning_rate"]),
            tried=_keyed(float, given["tried"]),
            architecture=dict(given["architecture"]),
            runs=tuple(map(Trained.from_dict, given["runs"])),
            placements=given.get("placements"),
        )


@dataclass(frozen=True)
class Comparison(_Plain):
    """Contenders that were trained on one task by one recipe, over the same seeds.

    Attributes:
        task: name of the task.
        quality: name of the quality measure, one of `nas.evaluation.metrics.HIGHER`.
        length: length of a training sequence in tokens.
        factors: measured lengths as multiples of the training length, ascending.
        contenders: the contenders in the order of the tables; "entrants" in JSON.
        chance: quality of a model that ignores its input; None if it is not known.
        token_loss: whether tokens have different numbers of bytes, so that tables show the loss per token too.

    Raises:
        ValueError: the measure is unknown, two contenders share a name, their seeds differ, or a figure is missing.
    """

    KEYS: ClassVar[Mapping[str, str]] = {"contenders": "entrants"}

    task: str
    quality: str
    length: int
    factors: list[int]
    contenders: tuple[TrainedContender, ...]
    chance: float | None = None
    token_loss: bool = False

    def __post_init__(self) -> None:
        if self.quality not in HIGHER:
            raise ValueError(f"quality={self.quality!r} is unknown; choose from: {', '.join(HIGHER)}.")
        if not self.contenders or not self.factors:
            raise ValueError("contenders or factors is empty; give at least one of each.")
        names = [contender.name for contender in self.contenders]
        if len(set(names)) < len(names):
            raise ValueError(f"contenders are named {', '.join(names)}; give each contender a name of its own.")
        seeds = self.contenders[0].seeds
        for contender in self.contenders:
            if not contender.runs or contender.seeds != seeds or len(set(seeds)) < len(seeds):
                raise ValueError(
                    f"{contender.name} was trained with seeds {list(contender.seeds)} and {names[0]} with "
                    f"{list(seeds)}; give each contender the same seeds in the same order, each once and at least one."
                )
            for run in contender.runs:
                self._check_measured(contender.name, run)

    def _check_measured(self, contender: str, run: Trained) -> None:
        expected = dict.fromkeys(("quality", "loss", "share"), self.factors)
        expected |= dict.fromkeys(("kv_bytes", "flops_per_token"), self.contexts)
        for name, lengths in expected.items():
            if missing := [length for length in lengths if length not in getattr(run, name)]:
                raise ValueError(
                    f"{contender}, seed {run.seed}, has no {name} for {missing[0]}; measure it for each of {lengths}."
                )

    @property
    def higher(self) -> bool:
        """Return whether higher quality is better."""
        return HIGHER[self.quality]

    @property
    def searched(self) -> tuple[TrainedContender, ...]:
        """Return the contenders that searches found."""
        return tuple(contender for contender in self.contenders if contender.searched)

    @property
    def baselines(self) -> tuple[TrainedContender, ...]:
        """Return the contenders that were not searched."""
        return tuple(contender for contender in self.contenders if not contender.searched)

    @property
    def best_placements(self) -> dict[str, TrainedContender]:
        """Return the placement with the best tuning trainings, by baseline name of all placements."""
        found: dict[str, TrainedContender] = {}
        for contender in self.contenders:
            if (name := contender.placements) is not None and (
                name not in found or contender.merit > found[name].merit
            ):
                found[name] = contender
        return found

    @property
    def opponents(self) -> tuple[TrainedContender, ...]:
        """Return the baselines to test against: of all placements of a pattern only the one that tuning chose."""
        chosen = self.best_placements
        return tuple(one for one in self.baselines if one.placements is None or chosen[one.placements] is one)

    @property
    def contexts(self) -> list[int]:
        """Return the context lengths in tokens at which costs are known, ascending."""
        return sorted(self.contenders[0].runs[0].kv_bytes)

    @property
    def context(self) -> int:
        """Return the context length for tables and figures of cost: `CONTEXT`, or the longest one without it."""
        return CONTEXT if CONTEXT in self.contexts else self.contexts[-1]

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Build from the values of `to_dict`; ValueError names missing, unknown or inconsistent fields."""
        _check_fields(cls, given)
        return cls(
            task=str(given["task"]),
            quality=str(given["quality"]),
            length=int(given["length"]),
            factors=[int(factor) for factor in given["factors"]],
            contenders=tuple(map(TrainedContender.from_dict, given["entrants"])),
            chance=_optional(given.get("chance")),
            token_loss=bool(given.get("token_loss", False)),
        )


def _check_fields(cls: type[Any], given: Any) -> None:
    kind = cls.__name__
    if not isinstance(given, Mapping):
        raise ValueError(f"{kind} must be a JSON object, not {type(given).__name__}.")
    known = {cls.KEYS.get(one.name, one.name) for one in fields(cls)}
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"{kind} has unknown fields {', '.join(unknown)}; its fields are: {', '.join(sorted(known))}.")
    later = {"chance", "token_loss", "margin", "late_gain", "placements", "layers"}  # earlier versions wrote none
    if missing := sorted(known - later - given.keys()):
        raise ValueError(f"{kind} misses fields {', '.join(missing)}; it needs: {', '.join(sorted(known))}.")


def _keyed(key: Callable[[str], Key], given: Mapping[str, float | None]) -> dict[Key, float]:
    return {key(name): _number(value) for name, value in given.items()}


def _number(given: float | None) -> float:
    """Return a number as it is; null becomes nan."""
    return math.nan if given is None else given


def _optional(given: float | None) -> float | None:
    return None if given is None else float(given)
