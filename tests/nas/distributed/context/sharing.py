"""Processes that share sequences: two or four for parts of models, and two for a search.

Run as a script, this module imports what they need once, and forks them. Each case of parts is computed by them,
and by each of them alone on whole sequences.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import nas.jobs.libraries  # first: as a command imports Lightning, which takes half the time
from nas.distributed.context.chunks import with_kept
from nas.distributed.context.exchange import before
from nas.distributed.context.group import Context, form
from nas.distributed.context.state import pass_state
from nas.models.language_model import LanguageModel, Output, RunBlock, recompute_block, run_block
from nas.models.policies import both, drop_all, learnt, randomly, strided
from nas.models.routing import LayerChoice, Policy
from nas.search_spaces.architecture import Architecture, Layer
from tests.nas.commands import SEARCH, nas
from tests.nas.pretrained.written import GEMMA, architecture_of, write_config

CHUNK, LENGTH, BATCH, VOCABULARY = 16, 128, 2, 13
ON = {"cpu": (), "cuda": ("trainer.accelerator=gpu", "trainer.precision=32-true", "model.chunk_size=16")}
"""Options of searches by device."""
ROUTED = "token_hybrid"
ALONE = [[Layer(mixer, CHUNK)] for mixer in ("softmax", "linear", "window")]
POLICIES = (learnt, both, drop_all, strided(0.3), randomly(0.5))
MIXTURE = [Layer("softmax", CHUNK), Layer("linear", CHUNK), Layer(ROUTED, CHUNK), Layer("window", CHUNK)]
MIXTURE.append(Layer(ROUTED, 2 * CHUNK))
WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], dtype=torch.float64)


def by_layer(layer: int, logits: Tensor) -> Tensor:
    """A policy that is another one in each layer."""
    return POLICIES[layer % len(POLICIES)](layer, logits)


def model(layers: list[list[Layer]], route_grad: str = "full") -> LanguageModel:
    """Return a model with these options of layers, and weights so large that every part matters; float64 on CPUs."""
    torch.manual_seed(2)
    architecture = Architecture(
        vocab_size=VOCABULARY, width=16, layers=tuple(own[0] for own in layers), linear_heads=2, key_dim=8,
        value_dim=16, softmax_heads=4, routing_heads=2, mlp_width=16, rope_base=1000.0, log_n=True, window=40,
    )  # fmt: skip
    made = LanguageModel(architecture, route_grad, tuple(map(tuple, layers)))  # type: ignore[arg-type]
    if torch.get_default_device().type == "cpu":
        made = made.double()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
        for block in made.blocks:
            if hasattr(block.mixer, "router"):
                block.mixer.router.score.bias.zero_()
    return made


def pretrained() -> LanguageModel:
    """Return a model in which all operations share the projections, positions and grouped heads of a pretrained one."""
    fields = {**GEMMA, "num_hidden_layers": 4, "layer_types": ["full_attention"] * 4, "vocab_size": VOCABULARY}
    with TemporaryDirectory() as folder:
        mixers = ("softmax", "window", "linear", ROUTED)
        architecture = architecture_of(write_config(Path(folder), **fields), *mixers, window=40)
    torch.manual_seed(2)
    made = LanguageModel(architecture)
    if torch.get_default_device().type == "cpu":
        made = made.double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return made


def computed(
    made: LanguageModel, part: slice, policy: Policy, choices: list[LayerChoice] | None, run: RunBlock
) -> tuple[Output, dict[str, Tensor]]:
    """Return the outputs for a part of each sequence, and the gradients of the whole loss by parameter."""
    torch.manual_seed(1)
    text = torch.randint(VOCABULARY, (BATCH, LENGTH + 1))
    torch.manual_seed(3)  # of random policies
    places = None if part.stop < LENGTH or part.start else torch.arange(BATCH * LENGTH)
    output = made(text[:, :-1][:, part], policy, places, choices, run)
    targets = text[:, 1:][:, part].flatten()
    loss = F.cross_entropy(output.logits.flatten(0, -2), targets, reduction="sum")
    for routings in output.routing.values():
        for one in routings:
            loss = loss + one.weights[..., 0].sum()
    made.zero_grad()
    loss.backward()
    return output, {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


def difference(
    context: Context,
    layers: list[list[Layer]],
    policy: Policy = learnt,
    route_grad: str = "full",
    choices: list[LayerChoice] | None = None,
    run: RunBlock = run_block,
) -> float:
    """Return the largest difference of logits, routes and gradients from those of whole sequences.

    Without options of layers, the model is a pretrained one.
    """
    made = model(layers, route_grad) if layers else pretrained()
    whole, expected = computed(made, slice(0, LENGTH), policy, choices, run)
    own = LENGTH // context.size
    stretch = slice(context.rank * own, (context.rank + 1) * own)
    made.share(context)
    part, gradients = computed(made, stretch, policy, choices, run)
    logits = whole.logits.view(BATCH, LENGTH, -1)[:, stretch]
    found = [(part.logits - logits).abs().max()]
    for layer, routings in part.routing.items():
        for one, other in zip(routings, whole.routing[layer], strict=True):
            chunks = one.weights.shape[1]
            mine = slice(context.rank * chunks, (context.rank + 1) * chunks)
            found += [
                (one.weights - other.weights[:, mine]).abs().max(),
                (one.logits - other.logits[:, mine]).abs().max(),
            ]
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.distributed.all_reduce(gradient)
        found.append((gradient - expected[name]).abs().max() / expected[name].abs().max().clamp(min=1e-3))
    largest = torch.stack(found).max().detach()
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return largest.item()


def of_models(context: Context) -> dict[str, float]:
    """Return the difference of each case."""
    every = [[Layer(ROUTED, chunk)] for chunk in (CHUNK, 2 * CHUNK, CHUNK, CHUNK, CHUNK)]
    return {
        "pretrained": difference(context, [], by_layer),
        "operations alone": difference(context, ALONE),
        "routers": difference(context, every, by_layer, run=recompute_block),
        "selected": difference(context, every[:1], route_grad="selected"),
        "mixture": difference(context, [MIXTURE], choices=[LayerChoice(None, WEIGHTS.to(torch.get_default_device()))]),
    }


def of_tokens_before(context: Context) -> list[bool]:
    """Return whether each number of tokens before a stretch is right, forward and backward."""
    torch.manual_seed(0)
    whole = torch.randn(2, 3 * context.size, 5)
    own, found = slice(3 * context.rank, 3 * context.rank + 3), []
    for size in (0, 1, 3, 5, 100):
        x = whole[:, own].clone().requires_grad_()
        made = before(context, "tokens", x, size)
        found.append(torch.equal(made, whole[:, max(0, own.start - size) : own.start]))
        (made.sum() * (context.rank + 1)).backward()
        position = torch.arange(own.start, own.stop)
        readers = [(r + 1) * ((position < 3 * r) & (position >= 3 * r - size)) for r in range(context.size)]
        found.append(torch.equal(x.grad, sum(readers).float()[:, None].expand_as(x)))  # type: ignore[union-attr, arg-type]
    return found


def of_states(context: Context) -> list[float]:
    """Return the differences of float32 states and their gradients from a loop over all stretches; under autocast."""
    torch.manual_seed(0)
    maps = torch.randn(context.size, 1, 2, 3, 8, requires_grad=True)
    weights = torch.randn(context.size, 1, 2, 3, 5)
    states = [torch.zeros_like(weights[0])]
    for one in maps[:-1]:
        states.append(one[..., :3] @ states[-1] + one[..., 3:])
    (torch.stack(states) * weights).sum().backward()
    assert maps.grad is not None
    own = maps.detach()[context.rank].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        state = pass_state(context, own[..., :3], own[..., 3:])
        (state * weights[context.rank]).sum().backward()
    assert own.grad is not None
    return [(state - states[context.rank]).abs().max().item(), (own.grad - maps.grad[context.rank]).abs().max().item()]


def of_chunks(context: Context) -> dict[str, Any]:
    """Return the bytes of keys that are sent at two shares, and whether a gradient returns to kept chunks alone."""
    found: dict[str, Any] = {}
    for share in (0.5, 0.25):
        context.sent.clear()
        k = torch.randn(2, 64, 4, 8, requires_grad=True)
        route = torch.zeros(2, 8, 2)
        route[:, : int(8 * share)] = 1.0
        kept = with_kept(context, k, k, route, 8, every=False)
        kept.k.sum().backward()
        later = context.size - 1 - context.rank
        of_chunks = (1 + later * route).repeat_interleave(2, -1).repeat_interleave(8, 1)[..., None]
        assert k.grad is not None
        found[f"gradient at {share}"] = torch.equal(k.grad, of_chunks.expand_as(k))
        found[str(share)] = dict(context.sent)
    return found


def measured(context: Context) -> dict[str, Any]:
    """Return what the tests compare."""
    parts: list[Callable[[Context], Any]] = [of_models, of_tokens_before, of_states, of_chunks]
    return {part.__name__: part(context) for part in parts}


def forked(world: int, port: int, run: Callable[[], None]) -> int:
    """Run a function in processes that torchrun could have started; return how many failed."""
    children = []
    for rank in range(world):
        if (child := os.fork()) == 0:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
            place |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in place.items()})
            status = 1
            try:
                run()
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main(folder: Path, world: int, device: str) -> int:
    """Write what each process measured, and search in two processes; return how many processes failed."""
    torch.set_num_threads(1)

    def measure() -> None:
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["RANK"]))
        torch.set_default_device(device)
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        context = form(world)
        (folder / f"{context.rank}.json").write_text(json.dumps(measured(context)))
        torch.distributed.destroy_process_group()

    def search() -> None:
        workflow = import_module("nas.workflows.search")
        workflow.finish = lambda *arguments: (0, None)  # the first process alone measures the result
        options = ("trainer.context_parallel=2", "trainer.activation_checkpointing=true", f"output={folder}")
        assert nas("search", *SEARCH, *ON[device], *options).status == 0

    for needed in ("nas.search", "nas.workflows.search", "torch._dynamo"):
        import_module(needed)
    return forked(world, free_port(), measure) + forked(2, free_port(), search)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
