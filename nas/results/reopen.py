"""The report of a run that was trained before, from its run folder."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from nas.cli.checks import check_values
from nas.config import RunConfig, VisualizeConfig, restore
from nas.data import Batch, Task, build_task, byte_lengths_of
from nas.data.batch import BYTE, token_of
from nas.data.corpus import encoded
from nas.data.seeding import generator
from nas.distributed.devices import autocast
from nas.errors import UserError
from nas.evaluation.routing_map import RoutingMap, routing_map
from nas.files.lock import in_use
from nas.models.language_model import LanguageModel
from nas.models.mixers import first_alone
from nas.models.policies import policy_of
from nas.plugins.record import require
from nas.report.data import ReportData
from nas.results.answer import beside, findings
from nas.results.differences import differences
from nas.results.report_data import report_of, with_latest_routing
from nas.runs.folder import ARCHITECTURE, METRICS, WEIGHTS, Run
from nas.runs.metrics import Metrics, read_metrics
from nas.runs.model_files import load_architecture, load_weights

PROBE = " The quick brown fox, naïve: 1234\n".encode()
"""Text that two vocabularies encode alike only if they are the same, or nearly so."""
COMMANDS = ("search", "train")
"""Commands whose runs train one model."""


class Viewed(NamedTuple):
    """A run loaded from its folder.

    Attributes:
        run: run folder.
        config: options that the run was started with.
        task: task of the training.
        metrics: final figures; None if the file is missing or damaged.
        model: model with the weights of the run; None if the run has no weights yet.
    """

    run: Run
    config: RunConfig
    task: Task
    metrics: Metrics | None
    model: LanguageModel | None

    @property
    def validation(self) -> Batch:
        """The validation sequence that the report shows."""
        return self.task.validation_batches()[0].longest_document()


def report(config: VisualizeConfig) -> ReportData:
    """Return the report of a run on the sequence of the options, with the run of ``compare`` beside it if given."""
    assert config.run is not None
    first = _load("run", config.run)
    shown, notes = _sequence(config, first)
    data = _report(first, shown, notes)
    if config.compare is None:
        return data
    other = _load("compare", config.compare)
    _check_same_tokens(config, first, other)
    together = beside([first.metrics, other.metrics], [one.config.data.length for one in (first, other)])
    data, compared = (
        replace(one, answer=findings(viewed.metrics)) if together and viewed.metrics else one
        for one, viewed in ((data, first), (_report(other, shown, []), other))
    )
    different = differences(first.run.path, other.run.path)
    return replace(data, compared=compared, differences=different, together=together)


def _load(option: str, folder: str) -> Viewed:
    """Load a run; raise a UserError if the folder is not the folder of a run."""
    run = Run(Path(folder))
    command = command_of(option, folder)
    if command not in COMMANDS:
        raise UserError(f"{option}={folder} is a run of nas.{command}; give a run of: nas.{', nas.'.join(COMMANDS)}.")
    require(f"{option}={folder}", run.described())
    try:
        config = restore(command, run.config())
    except ValueError as error:
        raise UserError(f"{option}={folder} has a config that this version cannot read: {error}") from error
    check_values(config)
    try:
        task = build_task(config.data, config.seed)
    except UserError as error:
        raise UserError(f"{option}={folder} was trained on data that is not available here: {error}") from error
    return Viewed(run, config, task, _metrics(run), _model(run))


def command_of(option: str, folder: str) -> str:
    """Return the command that made a folder; raise a UserError if it is not the folder of a run."""
    run = Run(Path(folder))
    if not run.path.is_dir():
        raise UserError(f"{option}={folder}: there is no such folder; give the folder of a run.")
    command: str = run.described()["command"]
    return command


def _metrics(run: Run) -> Metrics | None:
    """Return the final figures of a run; None if the file is missing or damaged."""
    try:
        return read_metrics(run.path)
    except ValueError:
        return None


def _model(run: Run) -> LanguageModel | None:
    """Return the model of a run with its weights; None if the run has no weights yet, UserError if damaged."""
    if not (run.path / WEIGHTS).exists():
        return None
    model = LanguageModel(load_architecture(run.path / ARCHITECTURE))
    load_weights(model, run.path / WEIGHTS)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _sequence(config: VisualizeConfig, viewed: Viewed) -> tuple[Batch, list[str]]:
    """Return the sequence to show, as a batch, and notes on it."""
    if config.text is None and config.prompt is None:
        return viewed.validation, []
    option = f"text={config.text}" if config.text is not None else "prompt"
    if encoded(viewed.task, b"") is None:
        raise UserError(
            f"{option} is a text, but the tokens of {viewed.task.name} are no text; give a run on data needle, text or "
            "tokens, or omit text and prompt to show a sequence of the task."
        )
    if viewed.model is None:
        raise UserError(
            f"{option} needs a trained model, but {viewed.run.path} has no weights yet; finish the run first."
        )
    given = encoded(viewed.task, _bytes(config, viewed.task))
    if not given:
        raise UserError(f"{option} is empty; give at least one character.")
    tokens = torch.tensor(given[: config.tokens])[None]
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


def _check_same_tokens(config: VisualizeConfig, first: Viewed, other: Viewed) -> None:
    """Raise a UserError if two runs do not have the same tokens."""
    same = first.task.vocab_size == other.task.vocab_size
    if config.text is None and config.prompt is None:
        same = same and first.task.name == other.task.name
    else:
        probe = [encoded(one.task, PROBE) for one in (first, other)]
        same = same and probe[0] == probe[1]
    if not same:
        raise UserError(
            f"compare={config.compare} was trained on {other.task.name} with {other.task.vocab_size} token ids, but "
            f"run={config.run} on {first.task.name} with {first.task.vocab_size}; give two runs on the same data."
        )


def _report(viewed: Viewed, shown: Batch, notes: list[str]) -> ReportData:
    """Return the report of one run on a sequence."""
    own = shown.tokens.equal(viewed.validation.tokens)
    routing = _routing(viewed, shown)
    metrics = viewed.metrics
    every = [*notes, *(metrics.notes if metrics else ())]
    data = report_of(viewed.run, metrics, viewed.task.quality, routing, every)
    data = with_latest_routing(data, viewed.task) if own else replace(data, snapshots=[])
    return replace(data, notes=[*_going_on(viewed, data), *every, *([] if metrics else _unfinished(viewed, data))])


def _routing(viewed: Viewed, shown: Batch) -> RoutingMap | None:
    """Return the routing of a sequence by the run's weights; None if there are no weights, or no layer routes."""
    model = viewed.model
    if model is None:
        return None
    policy = policy_of(model.architecture, generator=generator(viewed.config.seed, "random routing"))
    began = viewed.metrics is None or viewed.metrics.budget.routing_began
    device = model.embedding.weight.device
    precision = viewed.config.trainer.precision if device.type == "cuda" else "32-true"
    with autocast(device, precision):
        return routing_map(model, viewed.task, policy if began else first_alone, batch=shown, with_readers=True)


def _going_on(viewed: Viewed, data: ReportData) -> list[str]:
    """Return a note with the step of a run that goes on, or that has gone on after its final figures."""
    logged, metrics = int(data.history[-1]["step"]) if data.history else 0, viewed.metrics
    running = in_use(viewed.run.path)
    if not running and (metrics is None or logged <= metrics.step):
        return []
    at = f"step {logged:,} of {viewed.config.trainer.steps:,}"
    opening = f"This page was made while the run went on, at {at}." if running else f"The run has gone on to {at}."
    return [opening if metrics is None else f"{opening} The final figures are of step {metrics.step:,}."]


def _unfinished(viewed: Viewed, data: ReportData) -> list[str]:
    """Return the notes on a run without final figures."""
    if viewed.model is not None:
        return [f"{METRICS} is missing or damaged, so no final figures are shown."]
    steps = viewed.config.trainer.steps
    at = f" Its log ends at step {data.history[-1]['step']:,.0f} of {steps:,}." if data.history else ""
    seen = "" if data.routing else " It has no routing snapshot yet."
    return [f"This run is unfinished: it has no weights and no final figures.{at}{seen}"]
