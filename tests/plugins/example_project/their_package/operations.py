"""An operation: the mean of all values so far."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.models.operations import Branch
from nas.models.operations.operation import STATE_BYTES, CostLine, Heads, Look, Projected
from nas.plugins import register_operation
from nas.search_spaces.architecture import Architecture


class Mean(Branch):
    """Has no parameters of its own; its state is a sum and a count."""

    name = "mean"
    look = Look("hybrid5", "#777777", "m")

    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        """None."""

    def heads(self, mixer: nn.Module, given: Projected, start: int = 0) -> Heads:
        own: Architecture = mixer.architecture
        q, v = (x.unflatten(-1, (own.linear_heads, -1)) for x in (given.q, given.v))
        return q, v

    def attend(
        self, mixer: nn.Module, heads: Heads, chunk_size: int, route: Tensor | None = None, route_grad: str = "full"
    ) -> Tensor:
        _, v = heads
        return v.cumsum(1) / torch.arange(1, v.shape[1] + 1, device=v.device)[:, None, None]

    def merge(self, mixer: nn.Module, o: Tensor, gate: Tensor) -> Tensor:
        return o.flatten(-2) * F.silu(gate)

    def memory(self, mixer: nn.Module, chunk_size: int) -> "MeanMemory":
        return MeanMemory()

    def weights(self, a: Architecture) -> int:
        return 0

    def kv_bytes(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        return CostLine(STATE_BYTES * a.linear_heads * a.value_dim)

    def flops(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        return CostLine(2 * a.linear_heads * a.value_dim)


class MeanMemory:
    """The sum of values, and how many there were."""

    def prefill(self, heads: Heads, route: Tensor | None) -> Tensor:
        _, v = heads
        sums = v.cumsum(1)
        self._sum, self._count = sums[:, -1:], v.shape[1]
        return sums / torch.arange(1, self._count + 1, device=v.device)[:, None, None]

    def step(self, heads: Heads) -> Tensor:
        _, v = heads
        self._sum, self._count = self._sum + v, self._count + 1
        return self._sum / self._count

    def close(self, route: Tensor | None) -> None:
        """Chunks have no meaning to it."""

    @property
    def bytes_in_use(self) -> int:
        return self._sum.numel() * self._sum.element_size()


register_operation(Mean())
