"""An exponential moving average of the weights of a model, by which it is evaluated.

Lightning's callback for this copies the whole module, with its task and its data, averages the state of the budget too,
and swaps weights in validation loops only. PyTorch's `AveragedModel` waits for the GPU in each step.
"""

import copy

import torch
from torch import nn

from nas.models.language_model import LanguageModel


def decay_at(step: int, decay: float) -> float:
    """Return the decay of the average after a number of steps.

    It grows to the given one, so that a short training does not end with an average of its initial weights.

    >>> decay_at(1, 0.999), decay_at(10**6, 0.999)
    (0.18181818181818182, 0.999)
    """
    return min(decay, (1 + step) / (10 + step))


class Average(nn.Module):
    """The average of a model's weights; it is part of checkpoints.

    Args:
        model: model whose weights are averaged.
        decay: decay of the average in each step, once it has grown to it.
    """

    def __init__(self, model: LanguageModel, decay: float) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(requires_grad=False)
        self._decay = decay

    def start(self, model: LanguageModel) -> None:
        """Begin again with the weights of a model, as at its construction."""
        self.model.load_state_dict(model.state_dict())

    @torch.no_grad()
    def update(self, model: LanguageModel, step: int) -> None:
        """Average in the weights of a model after a number of steps."""
        weight = 1 - decay_at(step, self._decay)
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), weight)
        for own, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)
