"""Distillation: of the dense model while the budget tightens, and of the pretrained model that a search starts from.

Routers drop chunks before linear attention can do without them, and the loss of a few scored tokens is a weak signal
against it. The predictions of the model at the end of the dense phase are a stronger one (Hinton et al. 2015; from
softmax to linear attention, Wang et al. 2024, arXiv 2408.15237). The teacher is no better than the model was then. Its
weight therefore falls to 0 while the budget tightens.

A pretrained model has learnt more than the search shows it. Its weight stays the same.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data import Scored
from nas.models.language_model import LanguageModel
from nas.models.routing import FIRST_OPTION, LayerChoice, Policy, first_alone
from nas.pretrained.original import original_architecture


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

    @classmethod
    def of_original(cls, model: LanguageModel) -> "Teacher":
        """Return the pretrained model that a model starts from; `keep` copies its weights once they are loaded."""
        original = model.inherit(original_architecture(model.architecture))
        return cls(original, first_alone, [FIRST_OPTION] * len(original.blocks))

    def keep(self, model: LanguageModel) -> None:
        """Copy the present weights of a model, those that the teacher has."""
        weights = model.state_dict()
        self.model.load_state_dict({name: weights[name] for name in self.model.state_dict()})

    def divergence(self, logits: Tensor, batch: Scored) -> Tensor:
        """Return the divergence KL(teacher, student) [n] of the predictions of each scored token, in nats.

        Args:
            logits: [n, vocab] logits of the student.
            batch: tokens and scored places.
        """
        return divergence(logits, self.logits(batch))

    @torch.no_grad()
    def logits(self, batch: Scored) -> Tensor:
        """Return the logits [n, vocab] of each scored token."""
        made = self.model(batch.tokens, self._policy, batch.places, self._layer_choices, documents=batch.documents)
        return made.logits.flatten(0, -2)


def divergence(logits: Tensor, taught: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the divergence KL(teacher, student) [n] of predictions, in nats, times the square of the temperature.

    The square keeps the size of the gradients, which temperatures above 1 reduce (Hinton et al. 2015).

    Args:
        logits: [n, vocab] logits of the student.
        taught: [n, vocab] logits of the teacher.
        temperature: divisor of both logits.
    """
    own, given = ((x.float() / temperature).log_softmax(-1) for x in (logits, taught))
    return F.kl_div(own, given, reduction="none", log_target=True).sum(-1) * temperature**2
