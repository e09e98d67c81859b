"""Muon for the matrices of the blocks, and AdamW for everything else, as one optimiser.

Muon orthogonalises the momentum of a matrix (Jordan et al. 2024), which makes sense for maps between hidden vectors.
Embeddings, the head, routers, architecture logits, vectors and convolutions stay with AdamW. Updates of Muon are scaled
to the size of those of AdamW (Liu et al. 2025, arXiv 2502.16982, section 2.2), so that learning rate and weight decay
mean the same for both.

Lightning's automatic optimisation, its checkpoints and a schedule of learning rates expect one optimiser.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Muon, Optimizer

from nas.models.language_model import LanguageModel
from nas.models.router import Router


def muon_parameters(model: LanguageModel) -> list[Tensor]:
    """Return the matrices that Muon trains: the weights of linear layers in the blocks, but not those of routers."""
    routers = {id(p) for module in model.modules() if isinstance(module, Router) for p in module.parameters()}
    return [
        module.weight
        for module in model.blocks.modules()
        if isinstance(module, nn.Linear) and id(module.weight) not in routers
    ]


def muon(groups: list[dict[str, Any]], learning_rate: float) -> Muon:
    """Return Muon with updates of the size of AdamW's, for groups of matrices."""
    return Muon(groups, lr=learning_rate, adjust_lr_fn="match_rms_adamw")


class Together(Optimizer):
    """Several optimisers as one: its groups and states are theirs, in their order.

    Args:
        optimizers: the optimisers, of different parameters.
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        self._optimizers = optimizers
        super().__init__([group for one in optimizers for group in one.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the optimisers use the groups and states of this one."""
        groups = iter(self.param_groups)
        for one in self._optimizers:
            one.param_groups = [next(groups) for _ in one.param_groups]
            one.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Call the closure, then update all parameters; returns what the closure returns."""
        loss = None if closure is None else closure()
        for one in self._optimizers:
            one.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore groups and states."""
        super().load_state_dict(state_dict)
        self._share()
