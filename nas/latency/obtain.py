"""The latency table of a budget: that of the run to resume, measured before on this machine, or measured now."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from nas.config import BudgetConfig, TrainerConfig
from nas.console import Bars
from nas.distributed.devices import device_name, machine_memory, precision_here
from nas.distributed.rendezvous import from_first
from nas.distributed.strategies import root_device
from nas.errors import UserError
from nas.kernels.machine import GIB, free_memory, hash_of_kernels, triton_version
from nas.kernels.user_cache import add_to_cache, cache_path, read_cache
from nas.latency.measure import layer_latency, rest_milliseconds
from nas.latency.table import LATENCY, PHASES, Latencies, LayerLatency, Setting, read_latencies
from nas.models.operations import operation_of
from nas.search_spaces.architecture import Architecture, Layer

CACHE = "latencies.json"
"""File of the user's cache folder with all measurements by machine."""
REST = "rest"
"""Key of the measurement outside the layers."""


def latencies_of(
    budget: BudgetConfig,
    trainer: TrainerConfig,
    sizes: Architecture,
    options: Iterable[Iterable[Layer]],
    folder: str | None = None,
) -> Latencies | None:
    """Return the latency table for the options of all layers; None if the budget limits another resource.

    The first of several processes measures for all. What was measured before on a machine, with the same versions and
    sizes, is read from the user's cache folder.

    Args:
        budget: options of the budget.
        trainer: options of the trainer, which decide the device and the precision.
        sizes: architecture with the sizes of the model.
        options: options of each layer.
        folder: folder of the run to resume, whose table is used if it has these layers; None for a new run.

    Raises:
        UserError: the phase is unknown, or the context is too long for the model or for the memory.
    """
    if budget.resource != LATENCY:
        return None
    if budget.phase not in PHASES:
        raise UserError(f"budget.phase={budget.phase} is unknown; choose one of: {', '.join(PHASES)}.")
    if sizes.backbone is not None and budget.context > sizes.backbone.context:
        raise UserError(
            f"budget.context={budget.context} is too long for the pretrained model, whose positions are made for "
            f"{sizes.backbone.context} tokens; give budget.context={sizes.backbone.context} or less."
        )
    layers = list(dict.fromkeys(layer for own in options for layer in own))
    kept = None if folder is None else read_latencies(Path(folder))
    if kept is not None and kept.layers.keys() >= set(layers):
        return kept
    return Latencies.from_json(from_first(lambda: _here(budget, trainer, sizes, layers).as_json()))


def _here(budget: BudgetConfig, trainer: TrainerConfig, sizes: Architecture, layers: list[Layer]) -> Latencies:
    """Return the table of this machine, and measure what its cache does not have."""
    device = root_device(trainer)
    versions = f"PyTorch {torch.__version__}, Triton {triton_version()}, kernels {hash_of_kernels()}"
    setting = Setting(budget.phase, budget.context, precision_here(trainer), device_name(device), versions)
    path, keys = cache_path(CACHE), {layer: _key(sizes, setting, layer) for layer in layers}
    known, rest = read_cache(path, setting.machine), _key(sizes, setting, None)
    missing = [layer for layer in layers if not _is_latency(known.get(keys[layer]))]
    if missing or not isinstance(known.get(rest), float):
        _check_memory(sizes, layers, setting, device)
        with _progress(setting, len(missing) + 1) as show, _memory_errors(setting, device):
            for layer in missing:
                show(f"{layer.mixer}, chunks of {layer.chunk_size} tokens")
                known[keys[layer]] = asdict(layer_latency(sizes, layer, setting, device))
            show("outside the layers")
            first = min(layers, key=lambda layer: layer.routed)
            known[rest] = rest_milliseconds(sizes, first, LayerLatency(**known[keys[first]]), setting, device)
        add_to_cache(path, setting.machine, {key: known[key] for key in (*keys.values(), rest)})
    return Latencies(setting, {layer: LayerLatency(**known[key]) for layer, key in keys.items()}, known[rest])


@contextmanager
def _progress(setting: Setting, count: int) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the next of ``count`` measurements on a terminal."""
    with Bars.on(Console(stderr=True)) as bars:
        title = f"latency of {setting.phase} at {setting.context:,} tokens"
        task, begun = bars.add_task(title, total=count, figures=""), itertools.count()
        yield lambda name: bars.update(task, completed=next(begun), figures=f"  {name}")
        bars.update(task, completed=count, figures="")


@contextmanager
def _memory_errors(setting: Setting, device: torch.device) -> Iterator[None]:
    """Turn errors of the block for lack of memory into a UserError; release the memory of the GPU."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        raise _too_long(setting.context, device) from error
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _check_memory(sizes: Architecture, layers: list[Layer], setting: Setting, device: torch.device) -> None:
    """Raise a UserError if a prompt cannot fit in memory.

    Counted is the least that its first layer holds at a time: caches, the residual stream, and the hidden channels of
    the MLP.
    """
    free = machine_memory() if device.type != "cuda" else torch.cuda.mem_get_info(device)[1]
    channels = 2 * sizes.width + 2 * max(layer.mlp_width or sizes.mlp_width for layer in layers)
    least = setting.context * (8 + 2 * channels)
    for layer in layers:
        operations = [operation_of(name, sizes) for name in layer.operations]
        cached = sum(one.kv_bytes(sizes, layer.chunk_size, setting.context, layer.routed).at(1.0) for one in operations)
        if least + cached > free:
            raise _too_long(setting.context, device)


def _too_long(context: int, device: torch.device) -> UserError:
    memory = free_memory(device) if device.type == "cuda" else f"this machine has {machine_memory() / GIB:.0f} GiB"
    return UserError(
        f"budget.context={context} does not fit in memory: latencies are measured with a prompt of so many tokens, and "
        f"{memory}; give a smaller budget.context."
    )


def _key(sizes: Architecture, setting: Setting, layer: Layer | None) -> str:
    """Return the key of a measurement: the sizes, the precision, phase and context, and the layer or `REST`."""
    values = asdict(sizes)
    for name in ("layers", "given_routing", "given_share", *(("vocab_size", "tie_embeddings") if layer else ())):
        del values[name]
    if sizes.backbone is not None:
        values["backbone"] |= {"mixers": sizes.backbone.mixers[:1], "ropes": values["backbone"]["ropes"][:1]}
    own = REST if layer is None else layer._asdict()
    kept = (setting.phase, setting.context, setting.precision)
    return json.dumps([own, *kept, values], separators=(",", ":"))


def _is_latency(given: Any) -> bool:
    """Return whether a value of the cache is a measurement of a layer."""
    return isinstance(given, dict) and set(given) == set(LayerLatency.__dataclass_fields__)
