"""The end of a run: measure what was learnt, set it beside other routings of the same weights, write it all down."""

import math
import time
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from nas.budget.cost import CONTEXTS, LONG, UNITS, flops_per_token, kv_bytes, training_flops_per_token
from nas.config import flat
from nas.console import say
from nas.data.seeding import generator
from nas.distributed.devices import peak_flops
from nas.distributed.rendezvous import by_first
from nas.errors import INTERRUPTED
from nas.evaluation.evaluate import Evaluation, retrieving_layer
from nas.evaluation.metrics import BETTER
from nas.evaluation.routing_map import routing_map
from nas.models.language_model import count_parameters
from nas.models.policies import policy_of
from nas.relaxations import UNLEARNT
from nas.report.page import write_report
from nas.report.units import number
from nas.results.controls import FOUND, Row, compare
from nas.results.report_data import cells, memory, report_of, with_latest_routing
from nas.runs.folder import ARCHITECTURE, METRICS, REPORT, Run, plain
from nas.runs.history import FINAL
from nas.search_spaces.space import option_name
from nas.searchers.select import Searched
from nas.supernet.architecture_logits import TOLERANCE
from nas.training.module import TrainingModule

NOTHING = 5e-4
"""Softmax shares below it are told as next to nothing: tables show 0.000."""


@by_first
def close(module: TrainingModule, run: Run, console: Console, finished: bool, searched: Searched | None = None) -> int:
    """Write weights, architecture, metrics and report of a trained module; returns the exit status.

    Args:
        module: which becomes the training of the architecture that was found.
        run: its folder.
        console: where it is told.
        finished: whether training reached its last step.
        searched: what a searcher did after that.
    """
    started = time.monotonic()
    with console.status("Measuring what was learnt ..."), module.autocast():
        module.calibrate()
        rows = compare(module)
        best = rows[0].results[1]
        spent = _spent(module, best)
        decided = {"choices": _chosen(module), "budget": spent, "searched": searched}
        notes = _notes(module, best, finished) + _unsearched(module, searched) + _missed(spent)
        module.settle(module.found)
        run.write_weights(module.model)
        seconds = {"evaluation_seconds": time.monotonic() - started}
        metrics = plain(_metrics(module, rows, finished) | decided | {"notes": notes} | seconds)
        routing = routing_map(module.model, module.task, module.policy, with_readers=True)
    run.write_json(ARCHITECTURE, _found(module, rows[0]))
    run.write_json(METRICS, metrics)
    _log_hyperparameters(module, run, best.quality)
    report = report_of(run, metrics, module.task.quality, routing, notes)
    write_report(run.path / REPORT, with_latest_routing(report, module.task))
    console.print(_table(module, rows, metrics))
    for sentence in (*_sentences(metrics), *notes):
        say(console, sentence)
    say(console, f"Open {run.path / REPORT}, or watch with: tensorboard --logdir {run.path}")
    if finished:
        return 0
    say(console, f"Go on with: resume={run.path}")
    return INTERRUPTED


def _chosen(module: TrainingModule) -> list[dict[str, Any]] | None:
    """What each layer became, and where that is learnt how probable each option; None where layers choose nothing."""
    if not module.space.choosing:
        return None
    learnt = module.config.relaxation.name not in UNLEARNT
    return [
        {
            "layer": layer,
            "found": option_name(options[module.found[layer]]),
            "probabilities": dict(
                zip(map(option_name, options), module.choices.probabilities(layer).tolist(), strict=True)
            )
            if learnt
            else None,
        }
        for layer, options in enumerate(module.space.options)
    ]


def _metrics(module: TrainingModule, rows: list[Row], finished: bool) -> dict[str, Any]:
    """The final figures, as `metrics.json` has them."""
    task, model = module.task, module.model
    best = rows[0].results[1]
    retrieving = _retrieving(module) if best.found else None
    shares = _finite_shares(best)
    return {
        "finished": finished,
        "step": module.global_step,
        "training_seconds": module.seconds,
        "training_tokens": module.tokens,
        **_speed(module, shares),
        "quality": task.quality,
        "routings": {
            row.name: {f"{factor}x": _figures(result, row.shares[factor]) for factor, result in row.results.items()}
            for row in rows
        },
        "retrieving_layer": None
        if retrieving is None
        else {"layer": retrieving, **vars(best.found_by_layer[retrieving])},
        "cost": {
            "parameters": count_parameters(model),
            "kv_bytes": {context: kv_bytes(model.architecture, shares, context) for context in CONTEXTS},
            "flops_per_token": {context: flops_per_token(model.architecture, shares, context) for context in CONTEXTS},
        },
    }


def _retrieving(module: TrainingModule) -> int | None:
    policy = policy_of(module.model.architecture, generator=generator(module.config.seed, "retrieving layer"))
    return retrieving_layer(module.model, module.task.validation_batches(), module.task.quality, policy)


def _spent(module: TrainingModule, best: Evaluation) -> dict[str, Any]:
    """The budget's target, what was found uses of its resource, and the range of the space, in the resource's unit;
    the multiplier in the end, and how many steps were trained before routing began (None where it never did).
    """
    budget, cost, began = module.config.budget, module.cost, module.budget.began.item()
    return {
        "resource": budget.resource,
        "target": budget.target,
        "exact": budget.exact,
        "used": cost.of(module.found, _finite_shares(best)),
        "least": cost.least,
        "most": cost.most,
        "multiplier": module.budget.multiplier.item(),
        "dense_steps": round(began * module.config.trainer.steps) + 1 if math.isfinite(began) else None,
    }


def _finite_shares(best: Evaluation) -> dict[int, float]:
    """The measured shares by layer, without those of what diverged: costs count a layer that is not given as dense."""
    return {layer: share for layer, share in best.layer_shares.items() if math.isfinite(share)}


def _missed(budget: dict[str, Any]) -> list[str]:
    """A note where what was found is over its budget, or does not use it up though it should."""
    if budget["least"] == budget["most"]:
        return []
    over = (budget["used"] - budget["target"]) / budget["most"]
    if over <= TOLERANCE and not (budget["exact"] and over < -TOLERANCE):
        return []
    unit = UNITS[budget["resource"]]
    return [
        f"The budget was not met: what was found needs {budget['used']:.6g} {unit}, not {budget['target']:.6g}. "
        "Nothing that could be chosen comes nearer."
    ]


def _speed(module: TrainingModule, shares: dict[int, float]) -> dict[str, float | None]:
    """Tokens of training per second, and the share of the GPU's peak that the FLOPs for them are."""
    tokens, peak = module.tokens_per_second, peak_flops(module.device, module.config.trainer.precision)
    share = None
    if tokens and peak:
        flops = training_flops_per_token(module.model.architecture, shares, module.config.data.length)
        share = tokens * flops / (peak * module.trainer.world_size)
    return {"tokens_per_second": tokens, "flops_share": share}


def _figures(result: Evaluation, share: float) -> dict[str, Any]:
    return {
        "quality": result.quality,
        "by_position": result.by_position,
        "loss": result.loss,
        "share": share,
        "shares": result.shares,
        "found": result.found,
        "found_by_layer": result.found_by_layer,
    }


def _found(module: TrainingModule, learnt: Row) -> dict[str, Any]:
    """`architecture.json`: the architecture and what its routers were searched with and measured at."""
    config, best = module.config, learnt.results[1]
    return {
        "architecture": module.model.architecture.to_dict(),
        "relaxation": vars(config.relaxation),
        "budget": vars(config.budget),
        "measured": {"quality": {module.task.quality: best.quality}, "share": learnt.share, "shares": best.shares},
    }


def _table(module: TrainingModule, rows: list[Row], metrics: dict[str, Any]) -> Table:
    others = "as other architectures" if rows[0].name == FOUND else "under other routings"
    title = f"The same weights {others}" if len(rows) > 1 else "What was trained"
    table = Table(title=title, caption=f"{module.task.quality.replace('_', ' ')}: {BETTER[module.task.quality]}")
    shown = cells(metrics)
    for place, column in enumerate(shown[0]):
        table.add_column(column, justify="right" if place else "left")
    for row in shown:
        table.add_row(*row.values(), style="bold" if row is shown[0] and len(rows) > 1 else "")
    return table


def _sentences(metrics: dict[str, Any]) -> list[str]:
    """What the table does not say: where planted content was found, and the cost."""
    cost, speed = metrics["cost"], metrics["tokens_per_second"]
    sentences = []
    if metrics["choices"]:
        sentences.append("Found: " + ", ".join(choice["found"] for choice in metrics["choices"]) + ".")
    sentences += [
        f"{cost['parameters']:,} parameters; at {LONG:,} tokens a sequence keeps "
        f"{memory(metrics)} of keys, values and states."
    ]
    if speed:
        share = metrics["flops_share"]
        of_peak = "" if share is None else f", {100 * share:.1f} % of the GPU's peak FLOPs"
        sentences.append(f"Trained on {speed:,.0f} tokens a second{of_peak}.")
    if (found := metrics["retrieving_layer"]) and found["recall"]:
        sentences.insert(
            0,
            f"Layer {found['layer']} retrieves: it finds planted chunks with precision {number(found['precision'])} "
            f"and recall {number(found['recall'])}.",
        )
    return sentences


def _notes(module: TrainingModule, best: Evaluation, finished: bool) -> list[str]:
    """What a reader must not miss."""
    notes = []
    if module.searches and module.budget.dense:
        operation = "linear attention" if module.budget.rises else "softmax"
        notes.append(f"Routing had not begun: every chunk went to {operation}.")
    if not finished:
        notes.append(
            f"Stopped at step {module.global_step} of {module.config.trainer.steps}; what was learnt is saved."
        )
    if not module.budget.dense and module.space.sizes.given_routing is None and best.share < NOTHING:
        notes.append(
            "Routers keep next to no chunk. If quality is poor, or falls with the length, linear attention may have "
            "learnt the task, imprecisely, before softmax did: try half of trainer.learning_rate."
        )
    if not math.isfinite(best.loss):
        notes.append("The loss is not a finite number: training diverged. Try a lower trainer.learning_rate.")
    return notes


def _unsearched(module: TrainingModule, searched: Searched | None) -> list[str]:
    """What to tell where nothing chose between the architectures of a space, or had none to choose."""
    if searched is not None:
        over = "No architecture that was scored kept to the budget: this is the one that came nearest."
        return [over] if searched.best is None else []
    if module.space.choosing and module.config.relaxation.name in UNLEARNT and module.policy is not None:
        return ["No searcher has chosen yet: this is any architecture within the budget."]
    return []


def _log_hyperparameters(module: TrainingModule, run: Run, quality: float) -> None:
    """The options and what came of them, for TensorBoard's HParams: in one call, which is all that it looks at."""
    assert isinstance(module.logger, TensorBoardLogger)
    options = {option: str(value) for option, value in flat(run.config()).items()}
    module.logger.log_hyperparams(options, {FINAL + module.task.quality: quality}, module.global_step)
    module.logger.finalize("success")
