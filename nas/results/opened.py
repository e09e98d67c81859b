"""A run that was trained before, opened from its folder: its options, its task and its model."""

from pathlib import Path
from typing import NamedTuple

import torch

from nas.cli.checks import check_values
from nas.config import RunConfig, restore
from nas.data import Batch, Task, build_task
from nas.data.seeding import generator
from nas.distributed.devices import autocast
from nas.errors import UserError
from nas.files.checksums import digest
from nas.models.language_model import LanguageModel
from nas.models.policies import policy_of
from nas.models.routing import Policy, first_alone
from nas.plugins.record import require
from nas.runs.folder import ARCHITECTURE, WEIGHTS, Run
from nas.runs.metrics import Metrics, read_metrics
from nas.runs.model_files import load_architecture, load_weights

COMMANDS = ("search", "train")
"""Commands whose runs train one model."""
AUTO = "auto"
SHOWN = 12
"""Characters of the fingerprint of a tokenizer in messages."""


class OpenedRun(NamedTuple):
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

    @property
    def trained(self) -> LanguageModel:
        """The model of a run from `open_trained`."""
        assert self.model is not None
        return self.model

    @property
    def weights(self) -> str:
        """The SHA-256 of the file with the weights of the run."""
        return digest(self.run.path / WEIGHTS)

    @property
    def tokens(self) -> str:
        """What the tokens of the run are, as text for messages; equal for runs with the same tokens."""
        tokenizer = getattr(self.task, "tokenizer", None)
        of = f" of the tokenizer {tokenizer[:SHOWN]}" if isinstance(tokenizer, str) else ""
        return f"{self.task.name} with {self.task.vocab_size} token ids{of}"

    @property
    def routes(self) -> bool:
        """Whether the model routes chunks: some of its layers do, and routing began before training ended."""
        began = self.metrics is None or self.metrics.budget.routing_began
        return bool(self.trained.architecture.routed_layers) and began

    @property
    def policy(self) -> Policy:
        """The policy of the model. Random routing restarts from the seed each time this property is read."""
        if self.metrics is not None and not self.metrics.budget.routing_began:
            return first_alone
        return policy_of(self.trained.architecture, generator=generator(self.config.seed, "random routing"))

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.trained.embedding.weight.device

    def autocast(self) -> torch.autocast:
        """Return the autocast context in which the model computes: the precision of the training on a GPU."""
        return autocast(self.device, self.config.trainer.precision if self.device.type == "cuda" else "32-true")


def open_run(option: str, folder: str, device: str = AUTO) -> OpenedRun:
    """Load a run.

    Args:
        option: name of the option with the folder, for messages.
        folder: folder of the run.
        device: device of the model; auto is cuda where there is a GPU, else cpu.

    Raises:
        UserError: the folder is not the folder of a run, its data is not here, or there is no such device.
    """
    where = _device(device)
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
    return OpenedRun(run, config, task, _metrics(run), _model(run, where))


def open_trained(option: str, folder: str, device: str = AUTO) -> OpenedRun:
    """Load a run that has weights; see `open_run`. A run without weights is a UserError too."""
    opened = open_run(option, folder, device)
    if opened.model is None:
        raise UserError(f"{option}={folder} has no weights yet; finish the run first, with resume=.")
    return opened


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


def _model(run: Run, device: torch.device) -> LanguageModel | None:
    """Return the model of a run with its weights; None if the run has no weights yet, UserError if damaged."""
    if not (run.path / WEIGHTS).exists():
        return None
    model = LanguageModel(load_architecture(run.path / ARCHITECTURE))
    load_weights(model, run.path / WEIGHTS)
    return model.to(device).eval()


def _device(given: str) -> torch.device:
    """Return the device of an option; raise a UserError if this machine does not have it."""
    gpus = torch.cuda.device_count()
    if given == AUTO:
        return torch.device("cuda" if gpus else "cpu")
    allowed = [AUTO, "cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))]
    if given not in allowed:
        raise UserError(f"device={given} is not on this machine; give one of: {', '.join(allowed)}.")
    return torch.device(given)
