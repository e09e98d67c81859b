"""Parts of one tensor whose gradients are written into one tensor.

The backward pass of `torch.split` copies the gradients of the parts together. That takes as long as it took to compute
them. Kernels that compute the gradient of a part can write it to where it belongs: they get the memory from
`gradient_memory`, and the backward pass of `split` then copies nothing.

>>> import torch
>>> q, k = split(torch.randn(3, 8, requires_grad=True) * 1, (6, 2))
>>> q.shape, k.shape, gradient_memory(q).stride(), gradient_memory(torch.ones(3, 6)).stride()
(torch.Size([3, 6]), torch.Size([3, 2]), (8, 1), (6, 1))
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.multiprocessing.reductions import StorageWeakRef

from nas.kernels.triton_operator import traced


def split(whole: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the parts of ``whole`` [..., D] of these sizes: views, as `torch.split` over the last dimension."""
    if traced() or not whole.requires_grad or not whole.is_contiguous() or whole.storage_offset():
        return whole.split(list(sizes), -1)
    parts: tuple[Tensor, ...] = _Split.apply(whole, tuple(sizes))
    return parts


def gradient_memory(part: Tensor) -> Tensor:
    """Return uninitialised memory for the gradient of ``part``; its only stride of 1 is the last, as that of ``part``.

    It lies within the gradient of the whole if ``part`` is a result of `split`, on the first call for this part.
    """
    if len(_wholes) and not traced():
        whole = _wholes.get(part.untyped_storage().data_ptr())
        if whole is not None and (found := whole.take(part)) is not None:
            return found
    return part.new_empty(part.shape)


class _Whole:
    """A tensor that was split, and the gradient that its parts share during a backward pass."""

    def __init__(self, whole: Tensor, sizes: tuple[int, ...]) -> None:
        self._storage = StorageWeakRef(whole.untyped_storage())
        self._like, self._sizes = whole.new_empty(0), sizes
        self._shape = whole.shape
        self._gradient: Tensor | None = None
        self._taken: dict[int, Tensor] = {}
        """The parts of the gradient that were given to kernels, by index."""

    def take(self, part: Tensor) -> Tensor | None:
        """Return the memory of a part's gradient; None if it is not a part, or was taken before."""
        if self._storage.expired():  # its address may be that of another tensor now
            return None
        if self._gradient is None:
            self._gradient = self._like.new_empty(self._shape)
        for index, slot in enumerate(self._gradient.split(list(self._sizes), -1)):
            place = (part.storage_offset(), part.shape, part.stride(), part.dtype)
            if index not in self._taken and place == (slot.storage_offset(), slot.shape, slot.stride(), slot.dtype):
                self._taken[index] = slot
                return slot
        return None

    def join(self, gradients: Sequence[Tensor | None]) -> Tensor:
        """Return the gradient of the whole, given those of all parts."""
        whole, taken = self._gradient, self._taken
        self._gradient, self._taken = None, {}
        if whole is None or not all(_is(gradients[index], slot) for index, slot in taken.items()):
            whole = self._like.new_empty(self._shape)  # memory that was given to kernels may be in use elsewhere
        for gradient, slot in zip(gradients, whole.split(list(self._sizes), -1), strict=True):
            if gradient is None:
                slot.zero_()
            elif not _is(gradient, slot):
                slot.copy_(gradient)
        return whole


def _is(x: Tensor | None, slot: Tensor) -> bool:
    """Return whether x is this part of a gradient."""
    return x is not None and (x.data_ptr(), x.shape, x.stride()) == (slot.data_ptr(), slot.shape, slot.stride())


_wholes: WeakValueDictionary[int, _Whole] = WeakValueDictionary()
"""Tensors that were split, by the address of their memory, as long as their graph exists."""


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.whole = _wholes[whole.untyped_storage().data_ptr()] = _Whole(whole, sizes)
        return whole.split(list(sizes), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None]:
        return ctx.whole.join(gradients), None
