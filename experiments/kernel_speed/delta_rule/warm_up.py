"""Compilation of kernels before they are timed, of many calls at once.

Triton compiles a kernel in seconds; FlashQLA compiles those of a call for one to two minutes, one after the other. Both
keep what they compiled on disk, TileLang below ``TILELANG_CACHE_DIR``. So each call runs once in a process of its own,
and the process that times them finds their kernels on disk.
"""

import importlib.util
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.kernel_speed.contenders import FLA
from experiments.kernel_speed.delta_rule import peers
from experiments.kernel_speed.delta_rule.cases import (
    LINEAR_SHARE,
    Rule,
    Shape,
    contender,
    draw,
    grouped,
    of_the_340m,
    of_today,
    ours,
)
from experiments.kernel_speed.inputs import Shapes, document_borders
from experiments.kernel_speed.rows import OURS
from experiments.kernel_speed.timing import reason
from experiments.kernel_speed.tuning import compiled_at_once
from nas.kernels.arguments import Impl


@dataclass(frozen=True)
class Compiled:
    """A call whose kernels are compiled.

    Attributes:
        shape: sizes of the call.
        states: whether it has an initial and a final state.
        routed: whether it has a route.
        documents: number of packed documents; 0 if tokens are not packed.
        by: the contender.
    """

    shape: Shape
    states: bool = False
    routed: bool = False
    documents: int = 0
    by: str = OURS

    def __str__(self) -> str:
        options = {"states": self.states, "route": self.routed, f"{self.documents} documents": self.documents}
        return ", ".join([f"{self.by}: {self.shape}", *(name for name, given in options.items() if given)])


def _of_the_340m(shapes: Shapes) -> Iterator[Compiled]:
    yield from map(Compiled, of_the_340m(shapes))


def _of_today(shapes: Shapes) -> Iterator[Compiled]:
    yield from map(Compiled, of_today(shapes))


def _states(shapes: Shapes) -> Iterator[Compiled]:
    yield from (Compiled(shape, states=True) for shape in of_today(shapes))


def _groups(shapes: Shapes) -> Iterator[Compiled]:
    yield from map(Compiled, grouped(shapes))


def _routes(shapes: Shapes) -> Iterator[Compiled]:
    for shape in of_today(shapes) + of_the_340m(shapes)[-1:]:
        for states in (False, True):
            yield Compiled(shape, states, routed=True)
        yield Compiled(shape)


def _errors(shapes: Shapes) -> Iterator[Compiled]:
    for shape in of_today(shapes) + grouped(shapes) + of_the_340m(shapes):
        for states, routed in ((False, False), (True, False), (True, True)):
            yield Compiled(shape, states, routed)
    yield from itertools.islice(_packed(shapes), 1)


def _packed(shapes: Shapes) -> Iterator[Compiled]:
    for shape in of_today(shapes)[:1] + of_the_340m(shapes)[:1]:
        one = Shape(1, shapes.tokens, shape.key_heads, shape.heads, shape.key_dim, shape.value_dim)
        yield Compiled(one, documents=shapes.documents)


CALLS: dict[str, Callable[[Shapes], Iterator[Compiled]]] = {
    "delta": _of_the_340m,
    "delta128": _of_today,
    "states": _states,
    "groups": _groups,
    "routes": _routes,
    "errors": _errors,
    "packed": _packed,
}
"""Our calls by part; the peers that can make the same calls follow from them."""

WITHOUT_PEERS = ("routes",)


def calls_of(parts: Iterable[str], shapes: Shapes) -> list[Compiled]:
    """Return the calls of these parts by each contender, those that take longest first, without repetitions.

    flash-linear-attention's kernels do not depend on B and T.
    """
    calls = [(part, call) for part in parts if part in CALLS for call in CALLS[part](shapes)]
    found = {FLA: importlib.util.find_spec("fla") is not None, peers.FLASH_QLA: peers.present(peers.FLASH_QLA)}
    others: dict[object, Compiled] = {}
    for part, call in calls:
        for name in peers.rules(call.shape):
            if found[name] and part not in WITHOUT_PEERS and not call.routed:
                theirs = Compiled(call.shape, call.states, documents=call.documents, by=name)
                sizes = (call.shape.heads, call.shape.key_heads, call.shape.value_dim, call.states, call.documents)
                others.setdefault(sizes if name == FLA else theirs, theirs)
    own = dict.fromkeys(call for _, call in calls)
    return sorted([*others.values(), *own], key=lambda call: [peers.FLASH_QLA, FLA, OURS].index(call.by))


def compile_calls(calls: list[Compiled], shapes: Shapes, impl: Impl, device: torch.device) -> list[str]:
    """Run these calls, each in one of many processes; returns what failed, which the timed calls will report too."""
    workers = min(len(calls), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        running = {call: executor.submit(run_once, call, shapes, impl, device) for call in calls}
        errors = {call: future.exception() for call, future in running.items()}
    return [f"{call}: {reason(error)}" for call, error in errors.items() if error is not None]


def run_once(call: Compiled, shapes: Shapes, impl: Impl, device: torch.device) -> None:
    """Run both passes of a call as they are run when they are timed, then free their memory for other processes."""
    on_gpu = device.type == "cuda"
    try:
        with compiled_at_once() if on_gpu else nullcontext():
            _run(call, shapes, impl, device)
    finally:
        if on_gpu:
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()


def _run(call: Compiled, shapes: Shapes, impl: Impl, device: torch.device) -> None:
    borders = document_borders(call.shape.length, call.documents) if call.documents else None
    states = (call.documents or call.shape.batch) if call.states else 0
    drawn = draw(call.shape, shapes, device, states=states, share=LINEAR_SHARE if call.routed else None)
    for rule in _rules(call, shapes, impl, borders, device):
        timed = contender(rule, [drawn])
        timed.forward(0)
        timed.train(0)


def _rules(call: Compiled, shapes: Shapes, impl: Impl, borders: Tensor | None, device: torch.device) -> Iterator[Rule]:
    if call.by != OURS:
        yield peers.rules(call.shape, None if borders is None else borders.to(device, torch.int64))[call.by]
        return
    yield ours(shapes, impl, cu_seqlens=borders)
    if call.routed:
        yield ours(shapes, impl, "full")
