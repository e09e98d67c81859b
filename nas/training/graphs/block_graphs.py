"""The blocks of a model as CUDA graphs, to score architectures of a space.

A candidate is one of many architectures, too many to record each. A block has far fewer options. Each block is
therefore recorded once for each option and each shape, and a candidate launches one graph for each layer.
"""

import torch
from torch import Tensor, nn

from nas.models.language_model import Stream, run_block
from nas.models.routing import LayerChoice, Policy, Routing
from nas.training.graphs.recorded_functions import Passes, Port, Reading, Recordings


class BlockGraphs:
    """The recorded blocks of a model, called in the place of a block without gradients.

    All calls must have the same policy. The outputs of a block are valid until its next call with the same option.

    Args:
        device: device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._recordings = Recordings(device)
        self._streams: dict[tuple[torch.Size, torch.dtype], tuple[Port, Port]] = {}
        self._chunk_sizes: dict[tuple[int, int], list[int]] = {}

    @property
    def count(self) -> int:
        """Number of recordings."""
        return self._recordings.count

    @torch.no_grad()
    def __call__(
        self, layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice
    ) -> tuple[Stream, list[Routing]]:
        """Return the output and the routings of a block with a single option; packed documents are not recorded."""
        if stream.documents is not None:  # each batch has other borders, on which the kernels' launches depend
            return run_block(layer, block, stream, policy, choice)
        assert choice.option is not None
        x, option = stream.total, (layer, choice.option)
        if (ports := self._streams.get((x.shape, x.dtype))) is None:
            ports = self._streams[x.shape, x.dtype] = Port(torch.empty_like(x)), Port(torch.empty_like(x))
        given, into = ports if layer % 2 == 0 else ports[::-1]  # the output of a block is the input of the next one
        if x is not given.value:
            given.value.copy_(x)

        def function(x: Tensor) -> tuple[Tensor, ...]:
            computed, routings = block(Stream(x), policy, choice)
            self._chunk_sizes[option] = [routing.chunk_size for routing in routings]
            return (computed.total, *(part for one in routings for part in (one.logits, one.weights)))

        key = (*option, x.shape, x.dtype)
        passes = self._recordings.get(key, layer, lambda: Passes(Reading(function, [block]), [given], [into]))
        passes.forward()
        _, *parts = passes.outputs
        routings = zip(parts[::2], parts[1::2], self._chunk_sizes[option], strict=True)
        return Stream(into.value), [Routing(logits, weights, size) for logits, weights, size in routings]
