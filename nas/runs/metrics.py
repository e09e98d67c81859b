"""`metrics.json`: the final figures of a run of nas.search or nas.train, as frozen dataclasses.

Fields have the same names as in the file. There the learnt row and the controls form one object by name, ``routings``,
``learnt`` is the name of the learnt row, and ``original`` that of the pretrained model or null. In files without
``learnt`` the learnt row comes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from nas.evaluation.evaluate import Evaluation
from nas.evaluation.noise import Estimate, margin
from nas.evaluation.planted import Found
from nas.runs.candidate import Candidate
from nas.runs.decode import decode, decode_key
from nas.runs.folder import METRICS, plain, read_json

ROWS = "routings"
"""Key of the rows in the file."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Quality and softmax shares of one row, on validation sequences of one length.

    Attributes:
        quality: figure of merit.
        by_position: for a quality in bits, last token and figure of each segment; None for other measures.
        loss_by_position: the same for the loss, if tokens have different numbers of bytes; else None.
        loss: mean cross-entropy of a token, in nats.
        share: softmax share, in [0, 1], over the searchable and the routed layers.
        shares: softmax share of each routed layer, by routing head; nan if training diverged.
        found: precision and recall of planted chunks of each routed layer, by routing head.
        found_by_layer: the same for whole layers, where a chunk counts as routed if any head routes it.
        margin: half the width of the 95 % confidence interval of the quality over the validation sequences; nan if
            there is a single sequence, None in files without it.
        lead: difference between the quality of the learnt row and of this one, over the same sequences; None for the
            learnt row. After a healing, controls that are other architectures are compared with the architecture before
            it, since they share its weights.
        kv_bytes: bytes of the cache of a sequence of `nas.budget.cost.LONG` tokens at this share; None in files without
            it.
    """

    quality: float
    by_position: list[tuple[int, float]] | None = None
    loss_by_position: list[tuple[int, float]] | None = None
    loss: float
    share: float
    shares: dict[int, list[float]]
    found: dict[int, list[Found]] = field(default_factory=dict)
    found_by_layer: dict[int, Found] = field(default_factory=dict)
    margin: float | None = None
    lead: Estimate | None = None
    kv_bytes: int | None = None

    @classmethod
    def of(
        cls, evaluation: Evaluation, share: float, learnt: Evaluation | None = None, kv_bytes: int | None = None
    ) -> Self:
        """Make the figures of an evaluation.

        Args:
            evaluation: evaluation of a row.
            share: softmax share of the row.
            learnt: evaluation of the learnt row on the same sequences, for a control.
            kv_bytes: bytes of the cache of a long sequence.
        """
        return cls(
            quality=evaluation.quality,
            by_position=evaluation.by_position,
            loss_by_position=evaluation.loss_by_position,
            loss=evaluation.loss,
            share=share,
            shares=evaluation.shares,
            found=evaluation.found,
            found_by_layer=evaluation.found_by_layer,
            margin=margin(evaluation.by_sequence, resolution=0.0),
            lead=None if learnt is None else _difference(learnt.by_sequence, evaluation.by_sequence),
            kv_bytes=kv_bytes,
        )


@dataclass(frozen=True)
class Row:
    """One routing or architecture of the trained weights.

    Attributes:
        name: name in tables.
        by_factor: figures by length factor, the sequence length over the training length; always contains 1.
    """

    name: str
    by_factor: dict[int, Figures]

    @property
    def at_training_length(self) -> Figures:
        """The figures on sequences of the training length."""
        return self.by_factor[1]


@dataclass(frozen=True)
class RetrievingLayer:
    """The layer whose softmax attention matters most, with its precision and recall of planted chunks."""

    layer: int
    precision: float
    recall: float


@dataclass(frozen=True)
class Cost:
    """Cost of the model at its measured softmax shares; bytes and FLOPs per token by context length in tokens."""

    parameters: int
    kv_bytes: dict[int, int]
    flops_per_token: dict[int, int]


@dataclass(frozen=True)
class Choice:
    """The option of one layer.

    Attributes:
        layer: index of the layer.
        found: name of the chosen option, see `nas.search_spaces.space.option_name`.
        probabilities: probability of each option by name; None if the logits do not learn.
    """

    layer: int
    found: str
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True)
class BudgetUse:
    """The budget and the cost of the model.

    Attributes:
        resource: one of `nas.budget.cost.UNITS`; all costs are in its unit.
        target: allowed cost.
        exact: whether the cost must equal the target, not only stay below it.
        used: cost of the model at its measured softmax shares.
        least: cost of the cheapest architecture of the space.
        most: cost of the most expensive architecture of the space.
        multiplier: budget multiplier at the end of training.
        dense_steps: training steps before routing began; None if it never began.
    """

    resource: str
    target: float
    exact: bool
    used: float
    least: float
    most: float
    multiplier: float
    dense_steps: int | None

    @property
    def routing_began(self) -> bool:
        """Whether training reached the steps in which routers decide."""
        return self.dense_steps is not None


@dataclass(frozen=True)
class Searched:
    """The result of a searcher.

    Attributes:
        searcher: name of the searcher.
        evaluations: number of different architectures that were scored.
        best: selected architecture and its figures; None if no scored architecture was within the budget.
        target: target of the budget, relative to the most expensive architecture.
        seconds: wall time of all evaluations.
        training_flops: FLOPs of the trainings of all architectures; None if they shared the weights of one training.
    """

    searcher: str
    evaluations: int
    best: Candidate | None
    target: float
    seconds: float
    training_flops: float | None = None


@dataclass(frozen=True)
class Failure:
    """Signs that a search has failed, see `nas.results.failure`.

    Attributes:
        signs: what shows it, as parts of a sentence.
        loss_left_at: logged step from which the training loss stays clearly above its lowest level; None if it ends
            near that level.
        dropped_layers: routed layers that keep almost no chunk at the training length.
    """

    signs: tuple[str, ...]
    loss_left_at: int | None
    dropped_layers: tuple[int, ...]


@dataclass(frozen=True)
class Effort:
    """The wall time in seconds and the number of training tokens of a stage of a run."""

    seconds: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The final figures of a run.

    Attributes:
        finished: whether training reached its last step.
        step: step at which training ended.
        training_seconds: wall time of training, without the stages before and after it.
        training_tokens: number of training tokens, without these stages.
        stages: time and tokens of the alignment and the healing, by name; empty without them, and in files of earlier
            versions.
        tokens_per_second: throughput; None if it was not measured.
        flops_share: share of the GPU's peak FLOPs, in [0, 1]; None if the peak is not known.
        quality: name of the figure of merit.
        chance: quality of a model that ignores its input; None if it is not known.
        learnt: row of the learnt routing and architecture.
        controls: rows of other routings of the same weights, or of other architectures of the space.
        original: row of the pretrained model that the search started from, without the lengths beyond its context; None
            without one.
        retrieving_layer: layer that retrieves; None if the task plants nothing or no layer routes.
        cost: cost of the model.
        choices: option of each layer; None if no layer is searchable.
        budget: budget and the cost of the model.
        searched: result of the searcher; None if no searcher ran.
        verdict: sentences that say what the figures show, see `nas.results.verdict`; empty in files without them.
        ahead: whether the learnt row is better than the control at its cost by more than the noise.
        notes: sentences to read before the figures.
        failure: signs that the search has failed; None without a sign, and in files of earlier versions.
        evaluation_seconds: wall time of the final evaluation.
    """

    finished: bool
    step: int
    training_seconds: float
    training_tokens: int
    tokens_per_second: float | None = None
    flops_share: float | None = None
    quality: str
    chance: float | None = None
    learnt: Row
    controls: tuple[Row, ...] = ()
    original: Row | None = None
    retrieving_layer: RetrievingLayer | None = None
    cost: Cost
    choices: tuple[Choice, ...] | None = None
    budget: BudgetUse
    searched: Searched | None = None
    verdict: tuple[str, ...] = ()
    ahead: bool = False
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    stages: dict[str, Effort] = field(default_factory=dict)
    evaluation_seconds: float

    @property
    def rows(self) -> tuple[Row, ...]:
        """The learnt row, then the controls, then the original model if there is one."""
        return (self.learnt, *self.controls, *([] if self.original is None else [self.original]))

    def to_json(self) -> dict[str, Any]:
        """Return the metrics as JSON values; numbers that are not finite become null."""
        written: dict[str, Any] = {}
        for name in (one.name for one in fields(self)):
            if name == "learnt":
                written |= {name: self.learnt.name, ROWS: {row.name: _by_length(row) for row in self.rows}}
            elif name == "original":
                written[name] = self.original and self.original.name
            elif name != "controls":
                written[name] = plain(getattr(self, name))
        return written

    @classmethod
    def from_json(cls, given: Any) -> Self:
        """Return the metrics of JSON values; raise a ValueError that names a missing or unfit field."""
        if not isinstance(given, Mapping):
            raise ValueError(f"metrics are {type(given).__name__}; they must be an object.")
        rows = [
            Row(name, {_factor(length): decode(Figures, one, f"{ROWS}.{name}.{length}") for length, one in own.items()})
            for name, own in decode(dict[str, dict[str, Any]], given.get(ROWS), ROWS).items()
        ]
        names = [row.name for row in rows]
        learnt = given.get("learnt", names[0] if names else None)
        if learnt not in names:
            raise ValueError(f"learnt is {learnt!r}; it must be one of {ROWS}: {', '.join(names) or 'none'}.")
        if missing := [row.name for row in rows if 1 not in row.by_factor]:
            raise ValueError(f"{ROWS}.{missing[0]} has no 1x, the figures at the training length.")
        original: Any = given.get("original")
        if original not in (None, *names):
            raise ValueError(f"original is {original!r}; it must be null or one of {ROWS}: {', '.join(names)}.")
        by_name = dict(zip(names, rows, strict=True))
        controls = [row for row in rows if row.name not in (learnt, original)]
        own = {"learnt": by_name[learnt], "controls": controls, "original": by_name.get(original)}
        others = {one.name: given[one.name] for one in fields(cls) if one.name in given}
        return decode(cls, others | own, "metrics")


def read_metrics(folder: Path) -> Metrics:
    """Return the metrics of a run folder; raise a ValueError if the file is missing, damaged or of another version."""
    path = folder / METRICS
    if (given := read_json(path)) is None:
        raise ValueError(f"{path} is missing or is not JSON.")
    try:
        return Metrics.from_json(given)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def is_finished(folder: Path) -> bool:
    """Return whether the metrics of a run say that training reached its last step; False if there are no metrics."""
    given = read_json(folder / METRICS)
    return isinstance(given, dict) and bool(given.get("finished"))


def _difference(learnt: Sequence[float], other: Sequence[float]) -> Estimate:
    return Estimate.of([mine - theirs for mine, theirs in zip(learnt, other, strict=True)])


def _by_length(row: Row) -> dict[str, Any]:
    return {f"{factor}x": plain(figures) for factor, figures in row.by_factor.items()}


def _factor(length: str) -> int:
    return int(decode_key(int, length.removesuffix("x"), ROWS))
