"""Peer implementations of the same operations.

Each is imported when it is first called: a peer that is missing or raises an error becomes a row with its reason.
"""

import functools
import importlib
import importlib.metadata
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nas.search_spaces.architecture import Architecture

FLA = "flash-linear-attention"

OTHER_BACKENDS = ("FLA_FLASH_QLA", "FLA_TILELANG")
"""Switches of flash-linear-attention: "0" keeps it from handing operations to FlashQLA and TileLang if installed.

It reads them in every call.
"""


def version(package: str) -> str:
    """Return the version of an installed package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def fla_version() -> str:
    """Return the version of flash-linear-attention, also if only its source is on the path."""
    found = version(FLA)
    if found != "not installed":
        return found
    try:
        return importlib.import_module("fla").__version__
    except Exception:
        return found


def sdpa(q: Tensor, k: Tensor, v: Tensor, backend: str, scale: float | None = None) -> Tensor:
    """Compute PyTorch's causal attention on [B, H, T, D]; backend is "cudnn", "flash", "efficient" or "math"."""
    chosen = {
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
    }[backend]
    with sdpa_kernel([chosen]):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)


@functools.cache
def _without_guard() -> bool:
    """Let flash-linear-attention use its own Triton kernels, without the check that stops its backward pass.

    Returns whether the check would have stopped it.

    `chunk_bwd_dqkwg` raises for Triton 3.4 to 3.7.0 on Hopper, because its results there are wrong
    (flash-linear-attention#640). Only its time is used here, which the error does not affect.
    """
    os.environ.update(dict.fromkeys(OTHER_BACKENDS, "0"))
    chunk_o: Any = importlib.import_module("fla.ops.common.chunk_o")
    refused = bool(chunk_o.IS_NVIDIA_HOPPER and chunk_o.TRITON_ABOVE_3_4_0 and not chunk_o.TRITON_ABOVE_3_7_1)
    if refused:
        chunk_o.TRITON_ABOVE_3_7_1 = True
    return refused


Operation = Callable[..., tuple[Tensor, Tensor | None]]
"""A gated delta rule with the arguments and results of flash-linear-attention's."""


@functools.cache
def _fla_operation() -> Operation:
    _without_guard()
    return importlib.import_module("fla.ops.gated_delta_rule").chunk_gated_delta_rule


def on_our_arguments(find: Callable[[], Operation]) -> Callable[..., Tensor | tuple[Tensor, Tensor]]:
    """Return a peer's gated delta rule as a function of our arguments: normalised q and k, log-decay g.

    It returns o; with an initial state, o and the final state.

    Args:
        find: function that imports the operation.
    """

    def rule(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        beta: Tensor,
        initial_state: Tensor | None = None,
        *,
        cu_seqlens: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        o, state = find()(
            q, k, v, g, beta,
            initial_state=initial_state, output_final_state=initial_state is not None, cu_seqlens=cu_seqlens,
        )  # fmt: skip
        return o if state is None else (o, state)

    return rule


fla_gated_delta_rule = on_our_arguments(_fla_operation)


def fla_layer(architecture: Architecture) -> nn.Module:
    """Return flash-linear-attention's Gated DeltaNet layer with the sizes of the architecture's linear mixer."""
    _without_guard()
    a = architecture
    layer = importlib.import_module("fla.layers.gated_deltanet").GatedDeltaNet
    return layer(
        hidden_size=a.width,
        num_heads=a.linear_heads,
        head_dim=a.key_dim,
        expand_v=a.value_dim / a.key_dim,
        mode="chunk",
        use_gate=True,
        use_short_conv=True,
        conv_size=a.conv_size,
    )


def fla_notes() -> list[str]:
    """Return notes on the times of flash-linear-attention that readers must know."""
    try:
        refused = _without_guard()
    except Exception as error:
        return [f"{FLA} could not be used: {type(error).__name__}: {error}."]
    if not refused:
        return []
    return [
        f"{FLA}'s backward pass refuses to run on this pair of Triton and GPU because its gradients are wrong there; "
        "it was timed with that check off, for its time alone."
    ]


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    flex = importlib.import_module("torch.nn.attention.flex_attention").flex_attention
    return torch.compile(flex, dynamic=False)


def flex_attention(q: Tensor, k: Tensor, v: Tensor, mask: Any) -> Tensor:
    """Compute compiled FlexAttention on [B, H, T, D]; it has no gradient for the route."""
    if q.device.type == "cpu":
        return importlib.import_module("torch.nn.attention.flex_attention").flex_attention(q, k, v, block_mask=mask)
    return _compiled_flex()(q, k, v, block_mask=mask)


def flex_mask(route: Tensor, heads: int, length: int, chunk_size: int, block_size: int) -> Any:
    """Return the block mask of a hard route [B, N, R]: the own chunk causally, earlier chunks whose route is 1.

    It is built a block at a time, as a mask of all pairs would not fit in memory. A block whose chunks are not all
    routed alike is partial, and reads the route again inside.

    Args:
        block_size: tokens in a block of queries or keys; a multiple of chunk_size that divides length.
    """
    kept = route.detach().bool().transpose(1, 2).repeat_interleave(heads // route.shape[2], 1)  # [B, H, N]
    groups = kept.unflatten(2, (-1, block_size // chunk_size))
    some, every = groups.any(-1)[:, :, None], groups.all(-1)[:, :, None]  # [B, H, 1, blocks]
    blocks = length // block_size
    earlier = torch.ones(blocks, blocks, dtype=torch.bool, device=route.device).tril(-1)
    own = torch.eye(blocks, dtype=torch.bool, device=route.device)
    full = every & earlier
    partial = (some & ~every & earlier) | own

    def mask_mod(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = query // chunk_size == key // chunk_size
        return (query >= key) & (same | kept[b, h, key // chunk_size])

    block_mask = importlib.import_module("torch.nn.attention.flex_attention").BlockMask
    return block_mask.from_kv_blocks(*_listed(partial), *_listed(full), BLOCK_SIZE=block_size, mask_mod=mask_mod)


def _listed(present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of true columns of each row of [B, H, rows, columns], and all columns, true first; int32."""
    order = (~present).to(torch.int8).argsort(dim=-1, stable=True)
    return present.sum(-1, dtype=torch.int32), order.to(torch.int32)
