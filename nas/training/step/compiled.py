"""Training steps whose blocks and loss torch.compile compiles: PyTorch's own operations between the kernels are fused.

The kernels of the operations, norms, convolutions and gates are fused already, so the gain depends on the model and the
GPU. On a CPU compiling the blocks of the reference kernels takes minutes.
"""

import os
import shutil
import sys
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from nas.errors import UserError
from nas.evaluation.metrics import token_losses
from nas.models.language_model import Stream
from nas.models.routing import LayerChoice, Policy, Routing

BACKEND = "inductor"
"""Backend of torch.compile."""
VARIANTS = 8
"""Largest number of graphs of a block: for phases, options and shapes. Further ones run uncompiled."""


def check_compiler(device: torch.device) -> None:
    """Raise a UserError if torch.compile cannot work on a device."""
    if device.type == "cuda":
        found, needs = find_spec("triton") is not None, "the package triton: pip install 'nas-hybrid-attention[gpu]'"
    else:
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        found = shutil.which(compiler) is not None
        needs = f"the C++ compiler {compiler}, which is not there; install it, or name another one in CXX"
    if not found:
        raise UserError(f"trainer.compile=true needs {needs}; or give trainer.compile=false.")


class Compiled:
    """The compiled blocks of a model, called in the place of its blocks, and the compiled loss of its tokens.

    Args:
        layers: number of blocks.
    """

    def __init__(self, layers: int) -> None:
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, VARIANTS * layers)
        config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 2 * VARIANTS * layers)
        self._block = torch.compile(_call, backend=BACKEND)
        self._losses = torch.compile(token_losses, backend=BACKEND)

    def __call__(
        self, layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice
    ) -> tuple[Stream, list[Routing]]:
        """Call a block. It is not compiled for packed documents, whose borders differ from batch to batch."""
        call = _call if stream.documents is not None else self._block
        made: tuple[Stream, list[Routing]] = call(block, stream, policy, choice)
        return made

    def token_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each scored token; see `nas.evaluation.metrics.token_losses`."""
        losses: Tensor = self._losses(logits, targets)
        return losses


def _call(block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice) -> tuple[Stream, list[Routing]]:
    made: tuple[Stream, list[Routing]] = block(stream, policy, choice)
    return made
