"""Placements by a rule instead of a search: what a search must be better than, trained by the same stages.

Each rule says which layers keep softmax attention; the others get the cheapest operation of their options. As many
layers keep it as the budget allows.

- ``uniform``: evenly spaced, the last layer of each group, as 1 in 4 is in lllslllslll...
- ``random``: drawn by the seed.
- ``original``: the layers with full attention in a pretrained model whose other layers are sliding windows; evenly
  spaced ones of them if they are too many.
- ``greedy``: from all layers as in the pretrained model, the one whose removal changes its predictions least is
  removed, until the budget is met. The change is the divergence KL(original, model) on selection batches, after the
  alignment.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from rich.console import Console

from nas.config import RuleConfig, SearchConfig
from nas.console import Bars, say
from nas.data import Batch
from nas.data.seeding import stable_seed
from nas.distributed.rendezvous import from_first
from nas.distributed.strategies import root_device
from nas.models.routing import first_alone
from nas.runs.decode import decode
from nas.runs.folder import Run
from nas.search_spaces.space import Code, Space
from nas.searchers.places import GREEDY, ORIGINAL, RANDOM, Places, evenly
from nas.supernet.architecture_logits import ROUNDING
from nas.supernet.draws import choices_of_layers
from nas.training.module import TrainingModule
from nas.training.step.distillation import Teacher, divergence

PLACEMENT = "placement.json"
"""File with the placement, and for ``greedy`` with the removed layers and the divergence after each."""


def place(module: TrainingModule, run: Run, console: Console) -> Code:
    """Return the architecture that the rule of the config selects; it is kept in the run folder.

    Args:
        module: module of the whole space before its training, aligned if the search aligns.
        run: run folder.
        console: console that says what is selected.
    """
    return tuple(from_first(lambda: list(_place(module, run, console))))


def _place(module: TrainingModule, run: Run, console: Console) -> Code:
    config, space = module.config, module.space
    assert isinstance(config, SearchConfig)
    assert isinstance(config.searcher, RuleConfig)
    if (code := _kept(run, space)) is None:
        removed = list[tuple[int, float]]()
        if config.searcher.rule == GREEDY:
            code, removed = _greedily(module, config.searcher.batches, console)
        else:
            code = _by_count(module, config.searcher.rule, config.seed)
        run.write_json(PLACEMENT, {"code": code, "removed": removed})
    say(console, f"Placed by the rule {config.searcher.rule}: {', '.join(space.names(code))}")
    return code


def _kept(run: Run, space: Space) -> Code | None:
    def read(given: Any) -> Code:
        return space.encode(space.decode(decode(tuple[int, ...], given["code"], "code")))

    return run.stored(PLACEMENT, read, "to place the layers of this run again")


def _places(module: TrainingModule) -> Places:
    return Places(module.space, lambda layer, option: module.cost.lines[layer][option].base)


def _within(module: TrainingModule, code: Code) -> bool:
    return bool(module.cost.relative(module.cost.of(code, {})) <= module.budget.target + ROUNDING)


def _by_count(module: TrainingModule, rule: str, seed: int) -> Code:
    """Return the architecture of a rule with as many kept layers as the budget allows."""
    places = _places(module)
    layers, backbone = list(places.layers), module.space.sizes.backbone
    if rule == ORIGINAL:
        assert backbone is not None
        layers = [layer for layer in layers if layer not in backbone.sliding]
    drawn = Random(stable_seed(seed, "placement")).sample(layers, len(layers))
    keeping: Callable[[int], Sequence[int]] = {RANDOM: lambda count: drawn[:count]}.get(
        rule, lambda count: evenly(layers, count)
    )
    for count in range(len(layers), -1, -1):
        code = places.code(keeping(count))
        if _within(module, code):
            return code
    return places.code([])


def _greedily(module: TrainingModule, count: int, console: Console) -> tuple[Code, list[tuple[int, float]]]:
    """Remove the layer whose removal changes the predictions least until the budget is met.

    Returns:
        The architecture, and each removed layer with the divergence after its removal, in nats.
    """
    places = _places(module)
    left, removed = list(places.layers), list[tuple[int, float]]()
    original = Teacher.of_original(module.model)
    original.keep(module.model)
    batches = module.task.selection_batches(count)
    home, device = module.device, root_device(module.config.trainer)
    module.to(device)
    original.to(device)
    bar = Bars.on(console)
    task = bar.add_task("layers removed", total=None, figures="")
    try:
        bar.start()
        while left and not _within(module, places.code(left)):
            without = [places.code(_without(left, layer)) for layer in left]
            change, least = min(zip(_changes(module, original, without, batches), left, strict=True))
            left.remove(least)
            removed.append((least, change))
            bar.update(task, advance=1, figures=f"layer {least}: divergence {change:.4f}")
    finally:
        bar.stop()
        module.to(home)
    return places.code(left), removed


def _without(layers: Sequence[int], layer: int) -> list[int]:
    return [other for other in layers if other != layer]


@torch.no_grad()
def _changes(module: TrainingModule, original: Teacher, codes: Sequence[Code], batches: Sequence[Batch]) -> list[float]:
    """Return the mean divergence of the predictions of each architecture from those of the original, in nats."""
    every, totals, number = [choices_of_layers(code) for code in codes], [0.0] * len(codes), 0
    device = next(module.model.parameters()).device
    with module.autocast():
        for batch in batches:
            scored = batch.scored().on(device)
            taught = original.logits(scored)
            for index, choices in enumerate(every):
                made = module.model(scored.tokens, first_alone, scored.places, choices, documents=scored.documents)
                each = divergence(made.logits.flatten(0, -2), taught)
                totals[index] += each.double().sum().item()
            number += len(taught)
    return [total / number for total in totals]
