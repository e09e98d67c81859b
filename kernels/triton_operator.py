"""Calls of an operation on Triton kernels: as a plain function, or as a registered operator where it is traced."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


class Operator:
    """A function of tensors that is also registered with torch, as ``nas_kernels::<name>``.

    A registered operator is called where something traces the call (torch.compile, fake tensors, counters of
    operations, opcheck). Elsewhere the function is called directly, which saves a sixth of the Python time of a call.

    Args:
        name: name of the operator.
        function: implementation, with type hints that torch can read.
        fake: function that returns empty tensors with the shapes and dtypes of the results.
    """

    def __init__(self, name: str, function: Callable[..., Any], fake: Callable[..., Any]) -> None:
        self.function = function
        self.registered = torch.library.custom_op(f"nas_kernels::{name}", function, mutates_args=())
        self.registered.register_fake(fake)

    def __call__(self, *args: Any) -> Any:
        return self.registered(*args) if traced() else self.function(*args)


class DifferentiableOperator(Operator):
    """An operator with a backward pass.

    Args:
        name, function, fake: see `Operator`.
        save: (ctx, inputs, output), stores on ctx the values that ``differentiate`` needs.
        differentiate: (ctx, *gradients of the outputs), returns a gradient or None for each input.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        fake: Callable[..., Any],
        save: Callable[[Any, Any, Any], None],
        differentiate: Callable[..., Any],
    ) -> None:
        super().__init__(name, function, fake)
        self.registered.register_autograd(differentiate, setup_context=save)

        def forward(ctx: Any, *args: Any) -> Any:  # includes ``save``: with two functions torch binds arguments by name
            output = function(*args)
            save(ctx, args, output)
            return output

        methods = {"forward": forward, "backward": once_differentiable(differentiate)}
        self._direct: Any = type(
            name, (torch.autograd.Function,), {key: staticmethod(method) for key, method in methods.items()}
        )

    def __call__(self, *args: Any) -> Any:
        return self.registered(*args) if traced() else self._direct.apply(*args)


def traced() -> bool:
    """Return whether a compiler or a dispatch mode traces the call."""
    return torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
