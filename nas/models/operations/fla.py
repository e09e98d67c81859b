"""Layers of flash-linear-attention as operations: ``fla:kda``, ``fla:mamba2`` and the other layers of `fla.layers`.

The name after the colon is that of a module of `fla.layers`. The layer has as many heads as linear attention, of the
same size. Its parameters are counted on the layer itself, and its state bytes are measured with short prompts. These
operations need the extra ``fla`` and a CUDA GPU.
"""

import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from nas.models.operations.operation import CostLine, LayerMemory, Look, Standalone
from nas.search_spaces.architecture import Architecture

PREFIX = "fla"
COLOURS = (("hybrid3", "#56B4E9"), ("hybrid4", "#D55E00"), ("hybrid5", "#777777"))
PROMPTS = (64, 128)
"""Lengths, in tokens, of the prompts that measure state bytes. The difference gives the growth with the length."""


def operation(name: str) -> "FlaOperation":
    """Return the operation of a layer of flash-linear-attention, given the name of its module.

    Raises:
        ValueError: no CUDA GPU is available, the library cannot be imported, or it has no layer of this name.
    """
    if not torch.cuda.is_available():
        raise ValueError(
            f"{PREFIX}:{name} needs a CUDA GPU, and none is available; choose other operations or use a GPU."
        )
    layers = _library(f"{PREFIX}:{name}", "fla.layers")
    classes = {
        value.__module__.rpartition(".")[2]: value for value in map(layers.__dict__.get, layers.__all__) if value
    }
    if name not in classes:
        raise ValueError(
            f"{PREFIX}:{name} is not a layer of flash-linear-attention; choose from: {', '.join(classes)}."
        )
    return FlaOperation(name, classes[name])


def _library(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{name} needs flash-linear-attention, which cannot be imported ({error}); install the extra: "
            "pip install 'nas-hybrid-attention[fla]'."
        ) from error


class FlaOperation(Standalone):
    """A layer of flash-linear-attention. Its kernels tune themselves as they run, which a CUDA graph cannot capture.

    Args:
        name: name of the module in `fla.layers`.
        layer: class of the layer.
    """

    capturable = False

    def __init__(self, name: str, layer: type[nn.Module]) -> None:
        self.name, self._layer = f"{PREFIX}:{name}", layer
        place = sum(map(ord, name)) % len(COLOURS)  # the same colour in every run
        self.look = Look(*COLOURS[place], name[0])
        self._module = f"{PREFIX}_{name}"

    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        mixer.add_module(self._module, self._make(a))

    def output(self, mixer: nn.Module, x: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
        y: Tensor = mixer.get_submodule(self._module)(x)[0]
        return y

    def layer_memory(self, mixer: nn.Module) -> LayerMemory:
        return FlaMemory(mixer.get_submodule(self._module))

    def weights(self, a: Architecture) -> int:
        return sum(parameter.numel() for parameter in _on_meta(self, a).parameters())

    def kv_bytes(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        (short, shorter), (long, longer) = zip(PROMPTS, _state_bytes(self, a), strict=True)
        growth = (longer - shorter) / (long - short)
        return CostLine(round(shorter + growth * (context - short)))

    def flops(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        """Count 6 for each number of the state, as for Gated DeltaNet: it is read twice and written once."""
        return CostLine(6 * self.kv_bytes(a, chunk_size, context, routed).base // torch.finfo(torch.float32).bits * 8)

    def _make(self, a: Architecture) -> nn.Module:
        """Return a layer in the sizes of an architecture; ValueError if the layer does not support them."""
        known = inspect.signature(self._layer.__init__).parameters
        head_dim, heads = a.key_dim, a.linear_heads
        if "expand" in known:  # Mamba family: heads divide the expanded residual stream
            head_dim = known["expand"].default * a.width // heads
        sizes: dict[str, Any] = {
            "hidden_size": a.width,
            "num_heads": heads,
            "head_dim": head_dim,
            "expand_k": a.key_dim * heads / a.width,
            "expand_v": a.value_dim / a.key_dim if "head_dim" in known else a.value_dim * heads / a.width,
            "state_size": a.key_dim,
            "conv_size": a.conv_size,
            "conv_kernel": a.conv_size,
            "layer_idx": 0,
        }
        try:
            return self._layer(**{name: value for name, value in sizes.items() if name in known})
        except (ValueError, AssertionError, TypeError) as error:
            given = f"width={a.width}, linear_heads={heads}, key_dim={a.key_dim}, value_dim={a.value_dim}"
            raise ValueError(f"{self.name} does not support the sizes of this model, {given}: {error}") from error


class FlaMemory:
    """The decoding state of a layer of flash-linear-attention."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self._cache: Any = None

    def prefill(self, x: Tensor) -> Tensor:
        self._cache = importlib.import_module("fla.models.utils").Cache()
        return self.step(x)

    def step(self, x: Tensor) -> Tensor:
        y, _, self._cache = self._layer(x, past_key_values=self._cache, use_cache=True)
        return y

    @property
    def bytes_in_use(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(self._cache[0]))


def _tensors(state: Any) -> Iterator[Tensor]:
    """Yield every tensor of a state, at any depth of lists and dicts."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for inner in state.values() if isinstance(state, dict) else state:
            yield from _tensors(inner)


@cache
def _on_meta(operation: FlaOperation, a: Architecture) -> nn.Module:
    """Return a layer on the meta device, whose parameters take no memory."""
    with torch.device("meta"):
        return operation._make(a)


@cache
def _state_bytes(operation: FlaOperation, a: Architecture) -> tuple[int, int]:
    """Return the state bytes of one sequence after each prompt of `PROMPTS`."""
    with torch.device("cuda"), torch.random.fork_rng(["cuda"]), torch.no_grad():
        layer = operation._make(a).eval()
        with torch.autocast("cuda", torch.bfloat16):
            first, second = (_bytes_after(layer, length, a.width) for length in PROMPTS)
    return first, second


def _bytes_after(layer: nn.Module, length: int, width: int) -> int:
    memory = FlaMemory(layer)
    memory.prefill(torch.zeros(1, length, width, device="cuda"))
    return memory.bytes_in_use
