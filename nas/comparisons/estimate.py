"""What a comparison is about to train, and about how long that takes on this machine, before it starts."""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from nas.cli.memory import least_seconds
from nas.comparisons.contenders import Contender, parameters
from nas.comparisons.jobs import trainings
from nas.comparisons.workers import at_a_time
from nas.config import CompareConfig
from nas.data.batch import Task
from nas.distributed.strategies import root_device
from nas.searchers.halving.steps import search_steps
from nas.training.module import TrainingModule
from nas.training.step.moment import Moment

STEPS = 3
"""Number of timed training steps, after one that allocates memory."""
PATIENCE = 0.5
"""Seconds after which no further step is timed: one step of a large model is enough for an estimate."""
MINUTE = 60
UNITS = (("day", 24 * 60 * MINUTE), ("hour", 60 * MINUTE), ("minute", MINUTE), ("second", 1))
"""Units of a duration and their seconds."""


def plan(config: CompareConfig, contenders: Sequence[Contender], task: Task, done: int = 0, added: int = 0) -> str:
    """Return the number of trainings, the steps and tokens of each, and the duration of those left, as text.

    The duration is an estimate, which covers training and validation. On a GPU it is a lower bound, since steps of
    small models are as long as their kernels take to start, and compiling these kernels takes longer than an estimate
    should.

    Args:
        config: options of the comparison.
        contenders: the models to compare.
        task: task to train on.
        done: number of trainings that are done.
        added: number of known trainings at learning rates that were added to the grid.
    """
    number, steps = trainings(config, contenders) + added, config.trainer.steps
    tokens = steps * config.data.batch_size * config.data.length
    grows = config.added_rates and len(set(config.learning_rates)) > 1 and done < number
    least = "at least " if grows else ""
    text = f"{least}{number} trainings of {steps:,} steps and up to {tokens:,} tokens each"
    by_search = {one.name: _search_steps(one, steps) for one in contenders}
    halving = [f"{count:,} steps in {name}" for name, count in by_search.items() if count > steps]
    if halving:
        text += f" (all candidates of a search together: {', '.join(halving)})"
    if done:
        text += f", {done} of them done"
    longer = sum(trainings(config, [one]) * by_search[one.name] for one in contenders)
    longer_by = longer / (steps * trainings(config, contenders))
    duration = None if done == number else _duration(config, contenders, task, number - done, longer_by)
    return text if duration is None else f"{text}, {duration}"


def spoken(seconds: float) -> str:
    """Return a duration in words, with the largest unit of which there are two.

    >>> spoken(0.2), spoken(1.4), spoken(100), spoken(150), spoken(86400)
    ('1 second', '1 second', '100 seconds', '2 minutes', '24 hours')
    """
    unit, length = next((unit for unit in UNITS if seconds >= 2 * unit[1]), UNITS[-1])
    count = max(1, round(seconds / length))
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _search_steps(contender: Contender, steps: int) -> int:
    """Return the steps of a training of a contender; if its search is one by halving, of all its candidates together.

    A contender that is retrained has two trainings, of which the search is one: this is their mean.
    """
    if contender.search is None:
        return steps
    searched = search_steps(contender.search, contender.space)
    return (searched + steps) // 2 if contender.retrained else searched


def _duration(
    config: CompareConfig, contenders: Sequence[Contender], task: Task, left: int, longer: float
) -> str | None:
    """Return the duration of the trainings that are left, as text; None if nothing is known of it.

    Args:
        config: options of the comparison.
        contenders: the models to compare.
        task: task to train on.
        left: number of trainings that are left.
        longer: mean number of steps of a training over `trainer.steps`; above 1 with searches by halving.
    """
    workers, device = min(left, at_a_time(config, contenders)), root_device(config.trainer)
    if device.type == "cpu":
        one = contenders[0]
        seconds, timed = step_seconds(config, one, task, workers)
        together = f" with {workers} workers" if workers > 1 else ""
        seconds *= -(-left // workers) * longer * _steps(config)
        return (
            f"about {spoken(seconds)} of training on this machine{together}, "
            f"estimated from {timed} training step{'' if timed == 1 else 's'} of {one.name}"
        )
    alone = least_seconds(config, parameters(contenders[0].architecture), device)
    seconds = left * longer * alone / max(1, torch.cuda.device_count())
    return f"at least {spoken(seconds)} at the peak speed of this machine" if seconds >= MINUTE else None


def _steps(config: CompareConfig) -> float:
    """Return the number of training steps that take as long as a training with its validations, which only go forward.

    The forward pass of a step takes a third of its time.
    """
    validations = config.trainer.steps // config.trainer.validate_every
    return config.trainer.steps + validations * config.data.validation_batches / 3


def step_seconds(config: CompareConfig, contender: Contender, task: Task, workers: int) -> tuple[float, int]:
    """Time training steps of a contender on the CPU, with the threads that it has beside others.

    Random numbers and threads of this process are left as they were.

    Args:
        config: options of the comparison.
        contender: the model to train.
        task: task to train on.
        workers: number of trainings at a time.

    Returns:
        The mean number of seconds of a step, and the number of timed steps.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        options = replace(config, budget=contender.budget) if contender.search is None else contender.search
        module = TrainingModule(contender.space, task, options)
        optimizer = module.configure_optimizers()["optimizer"]
        batch = task.train_batch(0).scored()
        moment = Moment(dense=False, temperature=1.0, allowed=1.0, min_multiplier=0.0)
        times: list[float] = []
        torch.set_num_threads(max(1, threads // workers))
        try:
            while len(times) <= STEPS and sum(times) < PATIENCE:
                start = time.perf_counter()
                with module.autocast():
                    loss = module.step.compute(batch, moment).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                times.append(time.perf_counter() - start)
        finally:
            torch.set_num_threads(threads)
    timed = times[1:] or times
    return sum(timed) / len(timed), len(timed)
