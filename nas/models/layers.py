"""Parts of a block without an operation: short convolution, gated MLP and RMSNorm."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.kernels.head_norms import head_norms
from nas.kernels.joint_gradient import split
from nas.kernels.residual_norm import residual_norm
from nas.kernels.short_convolution import short_convolution
from nas.kernels.swiglu import swiglu
from nas.kernels.triton_support import operand_dtype
from nas.models.recomputation import recomputable

NORM_EPS = 1e-6
ALIGNMENT = 16
"""Multiple of the columns of a matrix product that reads and writes whole vectors on every GPU."""


class RMSNorm(nn.RMSNorm):
    """RMSNorm over the last dimension; on a GPU under autocast with outputs in its dtype (Zhang & Sennrich 2019).

    PyTorch returns float32 there, of which each matrix product then makes a copy.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.in_one_head(x) if x.is_cuda else super().forward(x)

    def in_one_head(self, x: Tensor) -> Tensor:
        """Compute the norm of [..., D] as that of a head with all channels."""
        assert self.eps is not None
        _, y = head_norms(x.reshape(1, -1, x.shape[-1]), self.weight, softmax_heads=1, eps=self.eps)
        return y.view(x.shape)

    def after(self, x: Tensor, delta: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return x + delta and its norm, on a GPU from a single kernel; without delta, x and its norm."""
        if delta is None:
            return x, self(x)
        assert self.eps is not None
        return residual_norm(x, delta, self.weight, eps=self.eps)


class NoNorm(nn.Module):
    """The place of a norm in models that have none there."""

    def after(self, x: Tensor, delta: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return x + delta twice: in place of itself and of its norm."""
        total = x if delta is None else x + delta
        return total, total


def rms_norm(size: int, eps: float = NORM_EPS) -> RMSNorm:
    """Return an RMSNorm over the last dimension, by default with the eps of this project's models."""
    return RMSNorm(size, eps=eps)


class ScaledEmbedding(nn.Embedding):
    """An embedding whose vectors are multiplied by a constant."""

    def __init__(self, vocab_size: int, width: int, scale: float) -> None:
        super().__init__(vocab_size, width)
        self._scale = scale

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) * self._scale


def linear_together(x: Tensor, layers: Sequence[nn.Linear]) -> list[Tensor]:
    """Apply several linear layers, without their biases, to one input x by a single matrix product.

    The backward pass then needs a single product for the gradient of x too, instead of a sum of as many gradients.
    Outputs are equal to those of the layers up to rounding.
    """
    return split_outputs(F.linear(x, joint_weight(layers)), layers)


def joint_weight(layers: Sequence[nn.Linear]) -> Tensor:
    """Return the weights of several linear layers as one matrix, whose last rows may be padding."""
    weights = [layer.weight for layer in layers]
    missing = -sum(map(len, weights)) % ALIGNMENT
    return torch.cat([*weights, weights[0].new_zeros(missing, weights[0].shape[1])])


def split_outputs(y: Tensor, layers: Sequence[nn.Linear]) -> list[Tensor]:
    """Return the outputs of several linear layers, which lie side by side in y before its last channels."""
    sizes = [layer.out_features for layer in layers]
    return list(split(y, [*sizes, y.shape[-1] - sum(sizes)])[: len(sizes)])


class FixedLinear:
    """Linear layers of one input as one matrix product for inference: one with its bias, several without biases.

    The weights are copied if there are several layers, or if autocast would cast them in each call.

    Args:
        layers: layers whose weights do not change.
    """

    def __init__(self, *layers: nn.Linear) -> None:
        self._layers = layers
        self._weight = self._fixed()

    def __call__(self, x: Tensor) -> Tensor:
        """Map [..., in_features] to the outputs side by side; see `split_outputs`."""
        if self._weight.dtype != operand_dtype(self._layers[0].weight):  # there was another autocast before
            self._weight = self._fixed()
        bias = self._layers[0].bias if len(self._layers) == 1 else None
        return F.linear(x, self._weight, bias if bias is None else bias.to(self._weight.dtype))

    def _fixed(self) -> Tensor:
        first, *others = self._layers
        weight = joint_weight(self._layers) if others else first.weight
        return weight.detach().to(operand_dtype(weight))


class ShortConvolution(nn.Module):
    """Causal depthwise convolution over time, then SiLU and maybe an l2 norm: [B, T, D] to [B, T, D]."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, kernel_size, groups=channels, bias=False)

    def forward(self, x: Tensor, heads: int | None = None, cu_seqlens: Tensor | None = None) -> Tensor:
        """Convolve x; with ``heads`` the result is l2-normalised over the channels of each head.

        ``cu_seqlens`` [documents + 1] are the borders of packed documents; None without.
        """
        weight = self.convolution.weight.squeeze(1)
        return recomputable(short_convolution, x, weight, heads=heads, cu_seqlens=cu_seqlens)

    @property
    def reach(self) -> int:
        """Number of earlier tokens that a token depends on."""
        return self.convolution.kernel_size[0] - 1

    def after(self, before: Tensor, x: Tensor, heads: int | None = None) -> Tensor:
        """Convolve x [B, T, D] with the tokens [B, S, D] before it, S <= reach: zeros precede them."""
        return self(torch.cat([before, x], dim=1), heads)[:, before.shape[1] :]

    def last_inputs(self, x: Tensor) -> Tensor:
        """Return the inputs that the tokens after x [B, T, D] depend on: [B, kernel_size - 1, D], zeros before x."""
        size, length = self.reach, x.shape[1]
        return F.pad(x[:, max(0, length - size) :], (0, 0, max(0, size - length), 0))


def geglu(x: Tensor) -> Tensor:
    """Return gelu(gate) * up in the tanh approximation, of gate and up side by side: [..., 2 D] to [..., D]."""
    gate, up = x.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh") * up


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": swiglu, "gelu_tanh": geglu}
"""Gated activations, by the name of the activation of the gate."""


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020): [B, T, width] to [B, T, width].

    Narrower layers can share its weights: a layer of hidden size h has the first h hidden channels. Some pretrained
    models have another activation of the gate.
    """

    def __init__(self, width: int, hidden: int, activation: str = "silu") -> None:
        super().__init__()
        self.activate = ACTIVATIONS[activation]
        self.gate_and_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, hidden: int | None = None, shares: Tensor | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: [B, T, width].
            hidden: number of hidden channels to use; None for all.
            shares: [hidden] factor on each hidden channel, for a mixture of hidden sizes; None for 1.
        """
        if hidden is not None and hidden < self.down.in_features:
            gate_and_up, down = self.narrowed(hidden)
            return F.linear(self.activate(F.linear(x, gate_and_up)), down)
        inner = self.activate(self.gate_and_up(x))
        return self.down(inner if shares is None else inner * shares.to(inner.dtype))

    def narrowed(self, hidden: int) -> tuple[Tensor, Tensor]:
        """Return the weights of a narrower layer: `gate_and_up` [2 * hidden, width] and `down` [width, hidden]."""
        gate, up = self.gate_and_up.weight.chunk(2)
        return torch.cat([gate[:hidden], up[:hidden]]), self.down.weight[:, :hidden]


class FixedSwiGLU:
    """A SwiGLU with all hidden channels for inference, whose weights do not change; see `FixedLinear`."""

    def __init__(self, mlp: SwiGLU) -> None:
        self._gate_and_up, self._down = FixedLinear(mlp.gate_and_up), FixedLinear(mlp.down)
        self._activate = mlp.activate

    def __call__(self, x: Tensor) -> Tensor:
        return self._down(self._activate(self._gate_and_up(x)))
