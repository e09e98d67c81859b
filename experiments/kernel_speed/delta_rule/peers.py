"""Peers of the gated delta rule: flash-linear-attention's own Triton kernels, FlashQLA and FlashInfer."""

import functools
import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from experiments.kernel_speed import peers
from experiments.kernel_speed.contenders import FLA, Contender
from experiments.kernel_speed.delta_rule.cases import Call, Rule, Shape

FLASH_QLA, FLASH_INFER = "FlashQLA", "FlashInfer"
PACKAGES = {FLASH_QLA: ("flash_qla", "flash-qla"), FLASH_INFER: ("flashinfer", "flashinfer-python")}
"""Modules and distributions of the peers that are left out where they are missing."""

FUSED_DIMS = (128, 128)
"""The only K and V that FlashQLA and FlashInfer compute."""


def present(peer: str) -> bool:
    """Return whether a peer is installed."""
    return importlib.util.find_spec(PACKAGES[peer][0]) is not None


def missing() -> list[str]:
    """Return how to get the peers that are not installed, one note each."""
    return [
        f"{peer} was not measured: it is not installed. Install the extra `peers`, or {package} alone: "
        f"`pip install {package}`."
        for peer, (_, package) in PACKAGES.items()
        if not present(peer)
    ]


def rules(shape: Shape, cu_seqlens: Tensor | None = None) -> dict[str, Rule]:
    """Return the peers with a backward pass for a shape; ``cu_seqlens`` as in our operation, on the GPU."""
    found: dict[str, Rule] = {FLA: functools.partial(peers.fla_gated_delta_rule, cu_seqlens=cu_seqlens)}
    if (shape.key_dim, shape.value_dim) == FUSED_DIMS and present(FLASH_QLA):
        found[FLASH_QLA] = functools.partial(peers.on_our_arguments(_flash_qla), cu_seqlens=cu_seqlens)
    return found


def forward_only(shape: Shape, calls: list[Call]) -> dict[str, Contender]:
    """Return the peers without a backward pass on these calls, which have no states."""
    found = (shape.key_dim, shape.value_dim) == FUSED_DIMS and present(FLASH_INFER)
    return {FLASH_INFER: _flash_infer(calls)} if found else {}


def _flash_qla() -> peers.Operation:
    """Return FlashQLA's gated delta rule, which splits long sequences over the GPU by itself."""
    return importlib.import_module("flash_qla").chunk_gated_delta_rule


def _flash_infer(calls: list[Call]) -> Contender:
    """Return FlashInfer's gated delta rule, on batches as packed sequences of equal lengths.

    Its inputs are prepared beforehand: the decay itself instead of its logarithm, gates in float32.
    """

    def operation(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, write: Tensor, cu_seqlens: Tensor) -> Tensor:
        rule: Any = importlib.import_module("flashinfer.gdn_prefill").chunk_gated_delta_rule
        return rule(q, k, v, decay, write, cu_seqlens=cu_seqlens)

    leaves = []
    for call in calls:
        q, k, v, g, beta = (x.detach().flatten(0, 1) for x in call.tensors.values())
        batch, length = call.tensors["q"].shape[:2]
        borders = torch.arange(0, (batch + 1) * length, length, dtype=torch.int64, device=q.device)
        leaves.append((q, k, v, g.exp(), beta.float(), borders))
    return Contender(operation, leaves, [call.grads for call in calls])
