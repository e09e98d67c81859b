"""A decision that is made once during training and then kept: the option of each layer."""

import torch
from torch import Tensor, nn

from nas.search_spaces.space import Code

UNDECIDED = -1


class Decision(nn.Module):
    """The option of each layer, decided at some step of training; its buffer is part of checkpoints.

    Args:
        layers: number of layers.
    """

    chosen: Tensor
    """[layers] index of the option of each layer, `UNDECIDED` before the decision."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.register_buffer("chosen", torch.full((layers,), UNDECIDED))
        self._code: Code | None = None  # value of the buffer, readable without waiting for a GPU
        self.register_load_state_dict_post_hook(Decision._read)

    def _read(self, _: object = None) -> None:
        chosen = tuple(self.chosen.tolist())
        self._code = None if UNDECIDED in chosen else chosen

    @property
    def decided(self) -> bool:
        """Whether the decision is made."""
        return self._code is not None

    @torch.no_grad()
    def keep(self, code: Code) -> None:
        """Keep the options of these indices from now on."""
        self.chosen.copy_(torch.tensor(code))
        self._read()


class Selected(Decision):
    """The architecture that a searcher selects during training.

    Args:
        layers: number of layers.
    """

    within: Tensor
    """Whether the selected architecture was within the budget, a scalar tensor."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers)
        self.register_buffer("within", torch.tensor(data=False))

    @property
    def code(self) -> Code | None:
        """The code of the architecture; None before the selection."""
        return self._code
