"""Counts of the kernels that code launches on a GPU, from a run on the CPU with interpreted Triton kernels."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas.kernels import triton_operator, triton_support
from nas.models.layers import RMSNorm

WITHOUT_KERNEL = {
    "empty",
    "new_empty",
    "empty_like",
    "detach",
    "lift_fresh",
    "promote_types",
    "_local_scalar_dense",
    "fill_",
}
"""Operators that launch nothing, although their result is no view, and the one that fills empty memory in tests."""


class _Operators(TorchDispatchMode):
    """Counts operators that are no views."""

    def __init__(self, launches: Counter[str]) -> None:
        super().__init__()
        self._launches = launches

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (func.is_view or name in WITHOUT_KERNEL or "unsafe_view" in name):
            self._launches[name] += 1
        return func(*args, **(kwargs or {}))


def count(call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return the number of launches of a call by the name of the operator or Triton kernel.

    The call takes the path of a GPU: every operation runs on its Triton kernels.
    """
    interpreter: Any = pytest.importorskip("triton.runtime.interpreter")
    launches: Counter[str] = Counter()
    run = interpreter.InterpretedFunction.run

    def counted(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        launches[f"{kernel.fn.__module__.removeprefix('nas.kernels.').partition('.')[0]}.{kernel.__name__}"] += 1
        with torch._C._DisableTorchDispatch():
            return run(kernel, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(interpreter.InterpretedFunction, "run", counted)
        patch.setattr(triton_operator, "traced", lambda: False)
        patch.setattr(triton_support, "_decide", lambda impl, device, why_not: "triton")
        patch.setattr(RMSNorm, "forward", RMSNorm.in_one_head)
        with _Operators(launches):
            call()
    return launches
