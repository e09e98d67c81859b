"""Shorter imports: of a library that other libraries import and commands do not use, and of all that commands do use.

Lightning needs torchmetrics, which imports transformers for a metric of texts and scipy.signal for metrics of sounds.
These take two seconds at every start.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from typing import Any


@contextmanager
def deferred(library: str) -> Iterator[None]:
    """Give modules that are imported in the block names of a library that import it only when they are used.

    After ``from library import Name`` in the block, attributes and calls of ``Name`` work; subclasses of it do not.
    A library that is imported already, or is not installed, is left as it is.
    """
    if library in sys.modules or (spec := _spec(library)) is None:
        yield
        return
    stand_in = module_from_spec(spec)
    vars(stand_in)["__getattr__"] = lambda name: _Deferred(library, name)
    sys.modules[library] = stand_in
    try:
        yield
    finally:
        del sys.modules[library]


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import Lightning, then whatever the block imports; all objects are exempt from garbage collection from then on.

    A quarter of the time of the imports would go to the garbage collector, which scans new objects that nearly all stay
    alive.
    """
    gc.disable()
    atexit.register(gc.unfreeze)  # Triton's bindings report objects that are left at the end
    try:
        with deferred("transformers"), deferred("scipy.signal"):
            import_module("lightning")  # whose torchmetrics imports both
        yield
    finally:
        gc.freeze()
        gc.enable()


def _spec(library: str) -> ModuleSpec | None:
    """Return the spec of a library or of a module in it; None if it is not installed."""
    try:
        return find_spec(library)
    except ModuleNotFoundError:  # of the package that would contain the module
        return None


class _Deferred:
    """A name of a library, which is imported at the first call or use of an attribute."""

    def __init__(self, library: str, name: str) -> None:
        self._library, self._name = library, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._imported(), attribute)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._imported()(*arguments, **named)

    def _imported(self) -> Any:
        return getattr(import_module(self._library), self._name)
