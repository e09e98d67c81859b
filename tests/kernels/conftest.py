"""Triton's interpreter without repeated searches and replacements that slow it down."""

import inspect
from types import ModuleType
from typing import Any

import pytest

from nas.kernels.machine import interpreting


@pytest.fixture(scope="session", autouse=True)
def fast_interpreter() -> None:
    """Look up constants once: the builtins of Triton's language, and NumPy's dtype of each type.

    The interpreter searches all members of `triton.language` and replaces many whenever a kernel calls a function, and
    builds a table of dtypes for each operation: together more than half of its time. The results stay the same.
    Versions of Triton without these functions are left unchanged.
    """
    if not interpreting():
        return
    interpreter: Any = pytest.importorskip("triton.runtime.interpreter")
    if _arguments(interpreter, "_patch_builtin") == ["pkg", "builder", "scope"]:
        _find_builtins_once(interpreter)
    if _arguments(interpreter, "_patch_lang") == ["fn"]:
        _replace_once_per_kernel(interpreter)
    if _arguments(interpreter, "_get_np_dtype") == ["tt_dtype"]:
        _find_dtypes_once(interpreter)


def _arguments(module: ModuleType, name: str) -> list[str]:
    function = getattr(module, name, None)
    return [] if function is None else list(inspect.signature(function).parameters)


def _find_builtins_once(interpreter: Any) -> None:
    import triton.language as tl

    patched = (tl, tl.core, tl.math, tl.tensor, tl.core.tensor_descriptor_base)
    names = {
        id(owner): [name for name, x in inspect.getmembers(owner) if tl.core.is_builtin(x)] for owner in patched
    }  # before a kernel runs, while all of them are builtins
    search = interpreter._patch_builtin

    def patch_builtin(owner: Any, builder: Any, scope: Any) -> None:
        if id(owner) not in names:
            search(owner, builder, scope)
        elif tl.core.is_builtin(getattr(owner, names[id(owner)][0])):  # else a calling function has replaced them all
            for name in names[id(owner)]:
                interpreter._patch_attr(owner, name, getattr(owner, name), builder, scope)

    interpreter._patch_builtin = patch_builtin


def _replace_once_per_kernel(interpreter: Any) -> None:
    """Let the functions that a kernel calls use what was replaced at its start; its end puts everything back."""
    import triton.language as tl

    patch, replaced = interpreter._patch_lang, set()
    modules: dict[int, tuple[bool, bool]] = {}

    def patch_lang(fn: Any) -> Any:
        names = fn.__globals__
        if id(names) not in modules:
            values = [value for value in names.values() if isinstance(value, ModuleType)]
            modules[id(names)] = (tl in values, tl.core in values)
        if modules[id(names)] in replaced:
            return interpreter._LangPatchScope()
        scope = patch(fn)
        replaced.add(modules[id(names)])
        restore = scope.restore

        def put_back() -> None:
            replaced.clear()
            restore()

        scope.restore = put_back
        return scope

    interpreter._patch_lang = patch_lang


def _find_dtypes_once(interpreter: Any) -> None:
    import triton.language as tl

    convert, found = interpreter._get_np_dtype, {}

    def get_np_dtype(kind: Any) -> Any:
        if isinstance(kind, tl.block_type):
            kind = kind.element_ty
        if isinstance(kind, tl.pointer_type):
            return convert(kind)
        if kind not in found:
            found[kind] = convert(kind)
        return found[kind]

    interpreter._get_np_dtype = get_np_dtype
