"""What layers compute in a step: in the dense phase, and with route dropout."""

import pytest
import torch

from nas.models.policies import keep_all
from nas.training.updates.optimizer import routers_of
from tests.nas.training.test_module import first_batch, made


def test_route_dropout_keeps_every_chunk_at_first_and_routers_learn_all_the_same() -> None:
    module = made("cpu", "budget.route_dropout_over=0.5", "budget.price=0", begun=True)
    for router in routers_of(module.model):
        router.move_threshold(torch.tensor(5.0))
    batch = first_batch(module)
    policy = module.routes.relaxed(module.moment._replace(route_dropout=1.0))
    output = module.model(batch.tokens, policy, batch.places)
    assert torch.equal(output.logits, module.model(batch.tokens, keep_all, batch.places).logits)
    output.logits.logsumexp(-1).sum().backward()
    assert all(router.score.weight.grad.abs().sum() > 0 for router in routers_of(module.model))


@pytest.mark.parametrize("start", ["most_expensive", "both"])
def test_linear_attention_learns_before_routing_begins_where_chunks_get_both(start: str) -> None:
    module = made("cpu", "budget.dense_until=1", f"budget.start={start}")
    module.training_step(first_batch(module), 0).backward()
    mixer = module.model.blocks[0].mixer
    assert (mixer.write.weight.grad is None) == (start == "most_expensive")
    assert mixer.q_norm.weight.grad is not None
    assert module.latest["share"] == 1.0
    assert module.validate().found is None
