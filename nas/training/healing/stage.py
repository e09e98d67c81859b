"""The stage of the healing in a run: its own steps, checkpoints and curves, after those of the training."""

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from rich.console import Console

from nas.config import SearchConfig
from nas.distributed.rendezvous import from_first
from nas.models.policies import policy_of
from nas.pretrained.original import load_original
from nas.runs.folder import HEALING, Run
from nas.runs.history import HIDDEN, ORIGINAL
from nas.search_spaces.space import Code
from nas.supernet.discretised import calibrate_routers
from nas.supernet.supernet import Supernet
from nas.training.callbacks import StopOnDivergence
from nas.training.healing.module import HealingModule
from nas.training.healing.options import healing_steps
from nas.training.module import TrainingModule
from nas.training.stages.fit import Stage, fit_stage


class Healing(NamedTuple):
    """The result of a healing.

    Attributes:
        ended: whether the run may end. If not, the user has stopped the healing, and its newest checkpoint is of the
            step at which it stopped.
        answer: the healed architecture; None if nothing was healed.
        diverged_at: step at which the loss or a weight was not a finite number; None if that did not happen.
    """

    ended: bool
    answer: Supernet | None = None
    diverged_at: int | None = None


NOT_HEALED = Healing(ended=True)
"""The result without a healing."""


def heal(module: TrainingModule, code: Code | None, finished: bool, run: Run, console: Console) -> Healing:
    """Let the answer of a search learn from the pretrained model, from the newest checkpoint of the healing if any.

    The weights of the supernet stay as they are.

    Args:
        module: module after its training.
        code: architecture that a searcher selected, in the first process; None if the architecture logits select it.
        finished: whether nothing is left to train. Otherwise nothing is healed.
        run: run folder.
        console: console that shows progress.
    """
    config, steps = module.config, healing_steps(module.config)
    if not steps or not finished or module.diverged_at is not None:
        return NOT_HEALED
    assert isinstance(config, SearchConfig)
    assert config.model.path is not None
    supernet, device = module.placed, module.model.embedding.weight.device
    selected = tuple(from_first(lambda: list(supernet.code if code is None else code)))
    answer = supernet.alone(selected)
    with module.autocast():
        calibrate_routers(answer, module.task, answer.code)
    teacher = load_original(answer.model.architecture, config.model.path)
    policy = answer.policy if answer.budget.dense else policy_of(answer.model.architecture)
    healing = HealingModule(answer.model, teacher, module.task, config, steps, policy)
    trainer = config.trainer
    stops = StopOnDivergence(trainer.checkpoint_every, scaled=trainer.precision == "16-mixed")
    stage = Stage(HEALING, "healing", means, "Healed")
    ended = fit_stage(healing, stage, run, console, [stops], trainer.gradient_clip)
    answer.model.to(device)  # Lightning has moved it to the CPU
    if healing.diverged_at is not None:
        return Healing(ended=True, diverged_at=healing.diverged_at)
    return Healing(ended, answer if ended else None)


def means(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the mean error of the hidden states over the layers, and the divergence, as far as a step has them."""
    errors = [value for name, value in figures.items() if name.startswith(f"{HIDDEN}/")]
    found = {"hidden error": fmean(errors)} if errors else {}
    return found | ({"divergence": figures[ORIGINAL]} if ORIGINAL in figures else {})
