"""Metrics of a run, from its discretised model."""

import math
import time
from collections.abc import Mapping, Sequence

from nas.budget.cost import CONTEXTS, flops_per_token, kv_bytes, training_flops_per_token
from nas.config import BudgetConfig, RunConfig
from nas.data import Task, chance_of
from nas.data.seeding import generator
from nas.evaluation.evaluate import retrieving_layer
from nas.models.language_model import count_parameters
from nas.models.policies import policy_of
from nas.relaxations import UNLEARNT
from nas.results.controls import HEALED
from nas.results.failure import failure, sentence_of
from nas.results.notes import notes
from nas.results.training_record import TrainingRecord
from nas.results.verdict import verdict
from nas.runs.metrics import BudgetUse, Choice, Cost, Effort, Failure, Metrics, RetrievingLayer, Row, Searched
from nas.search_spaces.space import option_name
from nas.supernet.discretised import Discretised


def measure(
    discretised: Discretised,
    rows: tuple[Row, ...],
    training: TrainingRecord,
    config: RunConfig,
    task: Task,
    searched: Searched | None,
    started: float,
    original: Row | None = None,
    further: Sequence[str] = (),
    stages: Mapping[str, Effort] | None = None,
) -> Metrics:
    """Return all final figures of a run.

    Args:
        discretised: trained model after discretising.
        rows: row of the learnt routing and architecture, then the controls.
        training: steps and speed of the training.
        config: options of the run.
        task: task of the training.
        searched: result of the searcher; None if no searcher ran.
        started: value of `time.monotonic` when the evaluation began.
        original: row of the pretrained model that the search started from; None without one.
        further: notes on the healing and the original.
        stages: time and tokens of the alignment and the healing, by name.
    """
    budget = budget_use(discretised, config.budget, training.steps)
    learns = config.relaxation.name not in UNLEARNT
    chance, sequences = chance_of(task), len(discretised.evaluation.by_sequence)
    sentences, ahead = verdict(task.quality, chance, rows, sequences, training.softmax_share)
    failed = failure_of(discretised, rows, training, task, learns)
    return Metrics(
        finished=training.finished,
        step=training.step,
        training_seconds=training.seconds,
        training_tokens=training.tokens,
        tokens_per_second=training.tokens_per_second,
        flops_share=flops_share(discretised, training, config.data.length),
        quality=task.quality,
        chance=chance,
        learnt=rows[0],
        controls=rows[1:],
        original=original,
        retrieving_layer=planted_chunks_found(discretised, task),
        cost=cost_of(discretised),
        choices=choices_of(discretised, learns),
        budget=budget,
        searched=searched,
        verdict=sentences if failed is None else (sentence_of(failed), *sentences),
        ahead=ahead,
        notes=(*notes(discretised, budget, training, learns, searched, failed is not None), *further),
        failure=failed,
        stages=dict(stages or {}),
        evaluation_seconds=time.monotonic() - started,
    )


def failure_of(
    discretised: Discretised, rows: tuple[Row, ...], training: TrainingRecord, task: Task, learns: bool
) -> Failure | None:
    """Return how a search has failed; None for another training, or if the search did not end or shows no sign.

    Args:
        discretised: trained model after discretising.
        rows: row of the learnt routing and architecture, then the controls.
        training: steps and curves of the training.
        task: task of the training.
        learns: whether architecture logits learn.
    """
    supernet = discretised.supernet
    given = supernet.space.sizes.given_routing is not None
    if not supernet.searches or supernet.budget.dense or given or not training.finished:
        return None
    if rows[0].name == HEALED:  # a search fails by its own figures: those before the healing
        rows = (rows[-1], *rows[1:-1])
    compressed = next((f"all {layer.operations[1]}" for layer in discretised.architecture.layers if layer.routed), None)
    return failure(rows, task.quality, chance_of(task), training.logged, compressed, learns)


def choices_of(discretised: Discretised, learns: bool) -> tuple[Choice, ...] | None:
    """Return the option of each layer; None if no layer is searchable and a placement has not changed any.

    Args:
        discretised: trained model after discretising.
        learns: whether architecture logits learn, so that options have probabilities.
    """
    space, architecture_logits = discretised.supernet.space, discretised.supernet.architecture_logits
    if discretised.supernet.before:
        return tuple(Choice(layer, option_name(own)) for layer, (own,) in enumerate(space.options))
    if not space.choosing:
        return None
    return tuple(
        Choice(
            layer,
            option_name(options[discretised.code[layer]]),
            dict(zip(map(option_name, options), architecture_logits.probabilities(layer).tolist(), strict=True))
            if learns
            else None,
        )
        for layer, options in enumerate(space.options)
    )


def budget_use(discretised: Discretised, config: BudgetConfig, steps: int) -> BudgetUse:
    """Return the budget, the cost of the model, and the costs of both ends of the space.

    Args:
        discretised: trained model after discretising.
        config: options of the budget.
        steps: number of training steps of a complete run.
    """
    cost, budget = discretised.supernet.cost, discretised.supernet.budget
    began = budget.began.item()
    return BudgetUse(
        resource=config.resource,
        target=config.target,
        exact=config.exact,
        used=discretised.used,
        least=cost.least,
        most=cost.most,
        multiplier=budget.pressure.item(),
        dense_steps=round(began * steps) + 1 if math.isfinite(began) else None,
    )


def cost_of(discretised: Discretised) -> Cost:
    """Return the parameters of the model, and its bytes and FLOPs per token at the measured softmax shares."""
    architecture, shares = discretised.architecture, discretised.shares
    return Cost(
        parameters=count_parameters(discretised.model),
        kv_bytes={context: kv_bytes(architecture, shares, context) for context in CONTEXTS},
        flops_per_token={context: flops_per_token(architecture, shares, context) for context in CONTEXTS},
    )


def flops_share(discretised: Discretised, training: TrainingRecord, length: int) -> float | None:
    """Return the share of the devices' peak FLOPs that training used, in [0, 1]; None if speed or peak is unknown.

    Args:
        discretised: trained model after discretising.
        training: speed of the training and peak of the devices.
        length: length of a training sequence, in tokens.
    """
    if not training.tokens_per_second or not training.peak_flops:
        return None
    flops = training_flops_per_token(discretised.architecture, discretised.shares, length)
    return training.tokens_per_second * flops / training.peak_flops


def planted_chunks_found(discretised: Discretised, task: Task) -> RetrievingLayer | None:
    """Return the layer that retrieves, with its precision and recall of planted chunks.

    Args:
        discretised: trained model after discretising.
        task: task of the training.

    Returns:
        None if the task plants nothing or no layer routes.
    """
    if not discretised.evaluation.found:
        return None
    architecture = discretised.architecture
    policy = policy_of(architecture, generator=generator(discretised.supernet.seed, "retrieving layer"))
    layer = retrieving_layer(discretised.model, task.validation_batches(), task.quality, policy)
    if layer is None:
        return None
    return RetrievingLayer(layer, **vars(discretised.evaluation.found_by_layer[layer]))
