"""Comparison of a kernel with the reference before its first use on a GPU that was never checked.

A kernel may fail to compile for a GPU, or compute wrong numbers without an error. So the first use of an operation with
new head dims, chunk size or dtype runs its *trials*: small calls, forward and backward, by the kernels and by the
reference in float64. The result is kept in memory and in a file, for each GPU, driver, version of Triton and version
of the kernels. The reference replaces an operation that failed, with one warning.

The trials of an operation are a function in the module ``trials`` of its folder: the operation
"gated_delta_rule.gated_delta_rule_step" has `nas.kernels.gated_delta_rule.trials.gated_delta_rule_step`. It yields
`Trial`s and takes the device and the settings of the use.
"""

import importlib
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from nas.kernels.machine import Machine, interpreting, unchecked_machine
from nas.kernels.user_cache import add_to_cache, cache_path, read_cache

Function = Callable[..., dict[str, Tensor]]
"""A function of named tensors that returns named tensors."""


class Trial(NamedTuple):
    """A call by both implementations.

    Attributes:
        inputs: float64 tensors on the CPU.
        reference, kernels: the operation; those results that require gradients are differentiated for all inputs.
    """

    inputs: dict[str, Tensor]
    reference: Function
    kernels: Function


class Use(NamedTuple):
    """An operation with the settings that its kernels are compiled for."""

    operation: str
    settings: tuple[tuple[str, int], ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        given = [*(f"{name}={value}" for name, value in self.settings), str(self.dtype).removeprefix("torch.")]
        return f"{self.operation.rpartition('.')[2]} with {', '.join(given)}"


_results: dict[tuple[Machine, Use], str | None] = {}
_lock = threading.Lock()


def known_failure(operation: str, dtype: torch.dtype, device: torch.device, **settings: int) -> str | None:
    """Return why the kernels of an operation must not run on ``device``; None if they are right or were checked.

    The first call tests them. While a CUDA graph is captured this is not possible: kernels that were not tested before
    do not run then.
    """
    machine, use = unchecked_machine(device), Use(operation, tuple(settings.items()), dtype)
    if machine is None:
        return None
    key = machine, use
    if key in _results:
        return _results[key]
    with _lock:
        if key not in _results:  # another thread may have tested them meanwhile
            results = _read(machine)
            if str(use) in results:
                _results[key] = results[str(use)]
            elif device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                return _warn(
                    f"{use} was not tested on {machine.gpu} before this capture of a CUDA graph: call it once before"
                )
            else:
                _results[key] = _in_new_thread(lambda: run_trials(use, device))
                _write(machine, use, _results[key])
            if _results[key] is not None:
                _results[key] = _warn(
                    f"the Triton kernels failed their self-test on {machine.gpu} with Triton {machine.triton}: {use}: "
                    f"{_results[key]}. Another version of Triton may do; delete {cache_file()} to repeat the test"
                )
        return _results[key]


def _warn(reason: str) -> str:
    warnings.warn(f"{reason}. These kernels are not used; the call takes longer and computes the same.", stacklevel=2)
    return reason


def _in_new_thread(function: Callable[[], str | None]) -> str | None:
    """Call the function in a new thread: no autocast, no grad mode, hook, dispatch mode or stream of this one."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


# The comparison


def run_trials(use: Use, device: torch.device) -> str | None:
    """Run all trials of ``use``; return the first difference or error, None if there is none."""
    package, _, name = use.operation.partition(".")
    trials: Callable[..., Iterator[Trial]] = getattr(importlib.import_module(f"nas.kernels.{package}.trials"), name)
    for trial in trials(device, **dict(use.settings)):
        try:
            difference = compare(trial, use.dtype, device)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return f"{type(error).__name__} in {_place(error)}: {textwrap.shorten(str(error), 300)}"
        if difference is not None:
            return difference
    return None


def _place(error: Exception) -> str:
    """Return the last function of the kernels' folder that an exception passed."""
    folder = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    inside = [(x.name, Path(x.filename)) for x in frames if folder in Path(x.filename).parents]
    return f"{inside[-1][0]} of {inside[-1][1].relative_to(folder)}"


ROUNDINGS = {torch.float32: 32}
"""Allowed units in the last place of a result; 1 in half precision.

An H200 needs 17 for a gradient of a route that is a sum over 8000 queries. A wrong kernel is wrong by thousands.
"""

CANCELLED = 2e-5
"""Allowed error of a difference of terms of about 10, where the exact result is zero: sixteen ulps of float32."""


def compare(trial: Trial, dtype: torch.dtype, device: torch.device) -> str | None:
    """Return the first result or gradient whose error is larger than rounding explains; None if there is none.

    The error is the norm of the difference from the reference in float64. Allowed is twice the error of the reference
    in float32 whose products round their operands to ``dtype``, plus the rounding of the result.
    """
    inputs = {name: x.to(dtype) for name, x in trial.inputs.items()}
    actual = _results_of(trial.kernels, {name: x.to(device) for name, x in inputs.items()}, dtype)
    exact = _results_of(trial.reference, {name: x.double() for name, x in inputs.items()}, dtype)
    with RoundedProducts(dtype), sdpa_kernel(SDPBackend.MATH):
        rounded = _results_of(trial.reference, {name: x.float() for name, x in inputs.items()}, dtype)
    for name, value in exact.items():
        unit = torch.finfo(actual[name].dtype).eps * ROUNDINGS.get(actual[name].dtype, 1)
        allowed = 2 * (rounded[name] - value).norm() + unit * value.norm() + CANCELLED
        error = (actual[name].double() - value).norm()
        if not error <= allowed:  # NaN too
            return f"{name} is wrong by {error:.1e} (norm; rounding explains {allowed:.1e})"
    return None


def _results_of(function: Function, inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the results on the CPU and, as "gradient of <input>", their gradients for cotangents of ``dtype``."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    results = function(**leaves)
    found = dict(results)
    outputs = [x for x in results.values() if x.requires_grad]
    if outputs:
        random = torch.Generator().manual_seed(1)
        cotangents = [
            torch.randn(x.shape, generator=random, dtype=torch.float64).to(dtype).to(x.device, x.dtype) for x in outputs
        ]
        gradients = torch.autograd.grad(outputs, list(leaves.values()), cotangents)
        found |= {f"gradient of {name}": x for name, x in zip(leaves, gradients, strict=True)}
    return {name: x.detach().cpu() for name, x in found.items()}


_aten: Any = torch.ops.aten
FIRST_OPERAND = {_aten.mm: 0, _aten.bmm: 0, _aten.addmm: 1, _aten.addmm_: 1, _aten.baddbmm: 1, _aten.baddbmm_: 1}
"""Where among a product's arguments its two operands begin; the variants with ``out`` are of the same packets."""


class RoundedProducts(TorchDispatchMode):
    """Rounds the operands of every matrix product to ``dtype``, as a tensor core reads them, and nothing else.

    As the kernels round, that is: Triton's interpreter cuts off what bfloat16 has no bits for.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.count = dtype, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        first = FIRST_OPERAND.get(func.overloadpacket)
        if first is not None:
            self.count += 1
            operands = (self._rounded(x) for x in args[first : first + 2])
            args = (*args[:first], *operands, *args[first + 2 :])
        return func(*args, **(kwargs or {}))

    def _rounded(self, x: Tensor) -> Tensor:
        if interpreting() and self.dtype == torch.bfloat16 and x.dtype == torch.float32:
            return (x.view(torch.int32) & -(2**16)).view(torch.float32)
        return x.to(self.dtype).to(x.dtype)


# The results on disk


def cache_file() -> Path:
    """Return the path of the results: {machine: {use: reason of a failure, or null}} as JSON."""
    return cache_path("self_tests.json")


def _read(machine: Machine) -> dict[str, str | None]:
    results = read_cache(cache_file(), str(machine))
    return {use: reason for use, reason in results.items() if reason is None or isinstance(reason, str)}


def _write(machine: Machine, use: Use, reason: str | None) -> None:
    """Add a result to the file. A folder that cannot be written means a test in every run."""
    add_to_cache(cache_file(), str(machine), {str(use): reason})
