"""How far a model is from the pretrained model: the hidden states after each layer.

Both models run on their own hidden states, from the tokens on. The error of a layer therefore has the errors of all
layers before it, unlike that of an alignment.
"""

from functools import partial

from torch import Tensor, nn

from nas.data import Scored
from nas.models.language_model import LanguageModel, RunBlock, Stream, recompute_block, run_block
from nas.models.routing import LayerChoice, Policy, Routing, first_alone


def without_gradient(policy: Policy) -> Policy:
    """Return a policy with the same routes, through which no gradient flows."""
    if policy is first_alone:  # mixers recognise it
        return policy
    return lambda layer, logits: policy(layer, logits).detach()


def hidden_states(
    model: LanguageModel, batch: Scored, policy: Policy, every: bool = True, recomputes: bool = False
) -> list[Tensor]:
    """Return the hidden states after each layer, or after the last one alone.

    Args:
        model: model of one architecture.
        batch: tokens.
        policy: how router logits become routes.
        every: whether those of every layer are returned.
        recomputes: whether the backward pass computes each block again.
    """
    found: list[Tensor] = []
    call: RunBlock = partial(recompute_block, run=run_block) if recomputes else run_block

    def run(
        layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice
    ) -> tuple[Stream, list[Routing]]:
        made, routings = call(layer, block, stream, policy, choice)
        if every and layer + 1 < len(model.blocks):
            made = Stream(made.total, documents=made.documents)
            found.append(made.x)
        return made, routings

    last, _ = model.hidden(batch.tokens, policy, run=run, documents=batch.documents)
    return [*found, last]


def predictions(model: LanguageModel, last: Tensor, batch: Scored) -> Tensor:
    """Return the logits [n, vocab] of the scored tokens from the hidden states [B, T, width] after the last layer."""
    return model.read(last, batch.places).flatten(0, -2)
