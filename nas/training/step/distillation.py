"""Distillation of the dense model while the budget tightens.

Routers drop chunks before linear attention can do without them, and the loss of a few scored tokens is a weak signal
against it. The predictions of the model at the end of the dense phase are a stronger one (Hinton et al. 2015; from
softmax to linear attention, Wang et al. 2024, arXiv 2408.15237). The teacher is no better than the model was then. Its
weight therefore falls to 0 while the budget tightens.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data import Scored
from nas.models.language_model import LanguageModel
from nas.models.mixers import LayerChoice, Policy


class Teacher(nn.Module):
    """A frozen copy of a model, in memory of its own that recorded steps can read; it is part of checkpoints.

    Args:
        model: model whose weights are copied.
        policy: policy of the dense phase.
        layer_choices: what each layer computes in the dense phase.
    """

    def __init__(self, model: LanguageModel, policy: Policy, layer_choices: Sequence[LayerChoice]) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(requires_grad=False)
        self._policy, self._layer_choices = policy, layer_choices

    def keep(self, model: LanguageModel) -> None:
        """Copy the present weights of a model."""
        self.model.load_state_dict(model.state_dict())

    def divergence(self, logits: Tensor, batch: Scored) -> Tensor:
        """Return the divergence KL(teacher, student) [n] of the predictions of each scored token, in nats.

        Args:
            logits: [n, vocab] logits of the student.
            batch: tokens and scored places.
        """
        with torch.no_grad():
            made = self.model(batch.tokens, self._policy, batch.places, self._layer_choices, documents=batch.documents)
            taught = made.logits.flatten(0, -2)
        own, taught = logits.float().log_softmax(-1), taught.float().log_softmax(-1)
        return F.kl_div(own, taught, reduction="none", log_target=True).sum(-1)
