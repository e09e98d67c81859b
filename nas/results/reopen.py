"""The report of a run that was trained before, from its run folder."""

from dataclasses import replace
from pathlib import Path

import torch

from nas.config import VisualizeConfig
from nas.data import Batch, Task, byte_lengths_of
from nas.data.batch import BYTE, token_of
from nas.data.shards.vocabulary import vocabulary_of
from nas.errors import UserError
from nas.evaluation.routing_map import RoutingMap, routing_map
from nas.files.lock import in_use
from nas.report.data import ReportData
from nas.results.answer import beside, findings
from nas.results.differences import differences
from nas.results.opened import OpenedRun, open_run
from nas.results.report_data import report_of, with_latest_routing
from nas.runs.folder import METRICS

PROBE = " The quick brown fox, naïve: 1234\n".encode()
"""Text that two vocabularies encode alike only if they are the same, or nearly so."""


def report(config: VisualizeConfig) -> ReportData:
    """Return the report of a run on the sequence of the options, with the run of ``compare`` beside it if given."""
    assert config.run is not None
    first = open_run("run", config.run)
    shown, notes = _sequence(config, first)
    data = _report(first, shown, notes)
    if config.compare is None:
        return data
    other = open_run("compare", config.compare)
    _check_same_tokens(config, first, other)
    together = beside([first.metrics, other.metrics], [one.config.data.length for one in (first, other)])
    data, compared = (
        replace(one, answer=findings(viewed.metrics)) if together and viewed.metrics else one
        for one, viewed in ((data, first), (_report(other, shown, []), other))
    )
    different = differences(first.run.path, other.run.path)
    return replace(data, compared=compared, differences=different, together=together)


def _sequence(config: VisualizeConfig, viewed: OpenedRun) -> tuple[Batch, list[str]]:
    """Return the sequence to show, as a batch, and notes on it."""
    if config.text is None and config.prompt is None:
        return viewed.validation, []
    option = f"text={config.text}" if config.text is not None else "prompt"
    vocabulary = vocabulary_of(viewed.task)
    if vocabulary is None:
        raise UserError(
            f"{option} is a text, but the tokens of {viewed.task.name} are no text; give a run on data needle, text or "
            "tokens, or omit text and prompt to show a sequence of the task."
        )
    if viewed.model is None:
        raise UserError(
            f"{option} needs a trained model, but {viewed.run.path} has no weights yet; finish the run first."
        )
    given = vocabulary.encode(_bytes(config, viewed.task))
    if not given:
        raise UserError(f"{option} is empty; give at least one character.")
    tokens = torch.tensor(vocabulary.begun(given[: config.tokens]))[None]
    unit = "bytes" if token_of(viewed.task) == BYTE else "tokens"
    cut = f"The text is longer: this is the routing of its first {config.tokens:,} {unit}."
    return Batch(tokens, tokens, None), [cut] if len(given) > config.tokens else []


def _bytes(config: VisualizeConfig, task: Task) -> bytes:
    """Return the bytes of ``text`` or ``prompt``; of a file at most a little more than are shown."""
    if config.text is None:
        assert config.prompt is not None
        return config.prompt.encode("utf-8", "surrogateescape")
    try:
        with Path(config.text).expanduser().open("rb") as file:
            lengths = byte_lengths_of(task)
            longest = 1 if lengths is None else int(lengths.max())
            return file.read(config.tokens * longest + 1)
    except OSError as error:
        raise UserError(f"text={config.text} cannot be read ({error.strerror}); give a readable file.") from error


def _check_same_tokens(config: VisualizeConfig, first: OpenedRun, other: OpenedRun) -> None:
    """Raise a UserError if two runs do not have the same tokens."""
    if config.text is None and config.prompt is None:
        same = first.tokens == other.tokens
    else:
        vocabularies = [vocabulary_of(one.task) for one in (first, other)]
        probe = [None if own is None else own.encode(PROBE) for own in vocabularies]
        same = first.task.vocab_size == other.task.vocab_size and probe[0] == probe[1]
    if not same:
        raise UserError(
            f"compare={config.compare} was trained on {other.tokens}, but run={config.run} on {first.tokens}; give two "
            "runs on the same data."
        )


def _report(viewed: OpenedRun, shown: Batch, notes: list[str]) -> ReportData:
    """Return the report of one run on a sequence."""
    own = shown.tokens.equal(viewed.validation.tokens)
    routing = _routing(viewed, shown)
    metrics = viewed.metrics
    every = [*notes, *(metrics.notes if metrics else ())]
    data = report_of(viewed.run, metrics, viewed.task.quality, routing, every)
    data = with_latest_routing(data, viewed.task) if own else replace(data, snapshots=[])
    return replace(data, notes=[*_going_on(viewed, data), *every, *([] if metrics else _unfinished(viewed, data))])


def _routing(viewed: OpenedRun, shown: Batch) -> RoutingMap | None:
    """Return the routing of a sequence by the run's weights; None if there are no weights, or no layer routes."""
    model = viewed.model
    if model is None:
        return None
    with viewed.autocast():
        return routing_map(model, viewed.task, viewed.policy, batch=shown, with_readers=True)


def _going_on(viewed: OpenedRun, data: ReportData) -> list[str]:
    """Return a note with the step of a run that goes on, or that has gone on after its final figures."""
    logged, metrics = int(data.history[-1]["step"]) if data.history else 0, viewed.metrics
    running = in_use(viewed.run.path)
    if not running and (metrics is None or logged <= metrics.step):
        return []
    at = f"step {logged:,} of {viewed.config.trainer.steps:,}"
    opening = f"This page was made while the run went on, at {at}." if running else f"The run has gone on to {at}."
    return [opening if metrics is None else f"{opening} The final figures are of step {metrics.step:,}."]


def _unfinished(viewed: OpenedRun, data: ReportData) -> list[str]:
    """Return the notes on a run without final figures."""
    if viewed.model is not None:
        return [f"{METRICS} is missing or damaged, so no final figures are shown."]
    steps = viewed.config.trainer.steps
    at = f" Its log ends at step {data.history[-1]['step']:,.0f} of {steps:,}." if data.history else ""
    seen = "" if data.routing else " It has no routing snapshot yet."
    return [f"This run is unfinished: it has no weights and no final figures.{at}{seen}"]
