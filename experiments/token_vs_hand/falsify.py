"""Try to falsify that routers select chunks by content, with the searched models of finished runs of the study.

    python -m experiments.token_vs_hand.falsify --only needle_noise needle_text

Nothing is trained. On sequences of ``--factor`` times the training length each searched model is measured

- with 0, 1, 4 and 16 distractors, on needles: its softmax share must rise with their number, or its quality must fall;
- without a quarter of the chunks that it keeps, and without all of them, which no operation then sees: this must lower
  its quality, and leaving out as many of the other chunks must not;
- with the routes of the next seed's model on the same sequences.

`criterion.md` says what counts. Tables go to `results/TASK_falsification.md`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
import yaml
from rich.progress import track
from torch import Tensor

from experiments.command_line import add_folders, folders_of
from experiments.runs import machine, status_of
from experiments.token_vs_hand.study import task_of, trained
from nas.comparisons.statistics import paired_test
from nas.config import RunConfig, restore
from nas.data import build_task
from nas.data.batch import Batch
from nas.data.seeding import generator
from nas.distributed.devices import autocast
from nas.evaluation.evaluate import Evaluation, evaluate
from nas.models.language_model import LanguageModel
from nas.models.operations import dense_share
from nas.models.policies import learnt
from nas.models.routing import Policy
from nas.options.tasks import NeedleConfig
from nas.report.units import markdown, number, p_value, signed
from nas.runs.folder import ARCHITECTURE, WEIGHTS, Run
from nas.runs.metrics import read_metrics
from nas.runs.model_files import load_architecture, load_weights

HERE = Path(__file__).parent
DISTRACTORS = (0, 1, 4, 16)
PARTS = (0.25, 1.0)
"""Fractions of the kept chunks that are left out."""
SEARCHES = ("joint", "token_hybrid")


class Trained(NamedTuple):
    """A searched model, the options of its search and its measure of quality."""

    model: LanguageModel
    config: RunConfig
    quality: str

    def batches(self, factor: int) -> list[Batch]:
        """Return validation batches, ``factor`` times as long as in training."""
        return build_task(self.config.data, self.config.seed).validation_batches(factor)

    def with_distractors(self, distractors: int, factor: int) -> list[Batch]:
        """Return such batches of needles with a number of distractors."""
        data = self.config.data
        assert isinstance(data, NeedleConfig)
        size = max(1, data.batch_size // factor)
        longer = replace(data, length=data.length * factor, batch_size=size, distractors=distractors)
        return build_task(longer, self.config.seed).validation_batches()

    def measure(self, batches: list[Batch], policy: Policy = learnt) -> Evaluation:
        """Measure the model with a policy."""
        device = self.model.embedding.weight.device
        precision = self.config.trainer.precision if device.type == "cuda" else "32-true"
        mixed = "bf16-mixed" if precision == "auto" else precision
        with torch.no_grad(), autocast(device, mixed):
            return evaluate(self.model, batches, self.quality, policy)


def load(folder: Path) -> Trained:
    """Return the model of a finished search."""
    run = Run(folder)
    model = LanguageModel(load_architecture(folder / ARCHITECTURE))
    load_weights(model, folder / WEIGHTS)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return Trained(model, restore(run.described()["command"], run.config()), read_metrics(folder).quality)


def without(part: float, kept: bool, seed: int) -> Policy:
    """Return the policy of the routers, except that no operation sees some chunks after their end.

    Args:
        part: fraction of the chunks that softmax attention keeps; as many chunks are left out, if there are so many.
        kept: whether kept chunks are left out; otherwise it is the other ones.
        seed: seed of the choice, which is random for each sequence and routing head.
    """
    draws = generator(seed, "left out", int(kept))

    def policy(layer: int, logits: Tensor) -> Tensor:
        weights = learnt(layer, logits)
        own = weights[..., 0] > 0  # [B, N, R]
        count = (own.sum(1, keepdim=True) * part).ceil()
        order = torch.rand(own.shape, generator=draws).to(own.device)
        place = order.masked_fill(own != kept, 2.0).argsort(1).argsort(1)
        return weights * ~((place < count) & (own == kept))[..., None]

    return policy


def routes_of(other: Trained, model: LanguageModel, batches: list[Batch]) -> Policy:
    """Return a policy that gives a model the routes of another one on the same batches, in their order.

    A chunk is kept where the other model keeps any of its tokens. A layer that has no router in the other model keeps
    all chunks if it is softmax attention there, and none otherwise.
    """
    recorded: dict[int, list[Tensor]] = {}

    def record(layer: int, logits: Tensor) -> Tensor:
        weights = learnt(layer, logits)
        recorded.setdefault(layer, []).append(weights[..., 0] > 0)
        return weights

    other.measure(batches, record)
    layers, own = other.model.architecture.layers, model.architecture.layers
    routes: Mapping[int, Iterator[Tensor]] = {layer: iter(masks) for layer, masks in recorded.items()}

    def policy(layer: int, logits: Tensor) -> Tensor:
        if layer in routes:
            tokens = next(routes[layer]).repeat_interleave(layers[layer].chunk_size, dim=1)
            chunks = tokens.split(own[layer].chunk_size, dim=1)[: logits.shape[1]]
            kept = torch.stack([chunk.any(1) for chunk in chunks], dim=1)
        else:
            kept = torch.full(logits.shape[:-1], dense_share(layers[layer]) > 0, device=logits.device)
        return torch.stack([kept, ~kept], dim=-1).to(logits)

    return policy


def report(models: Sequence[Trained], factor: int) -> str:
    """Measure models of several seeds and render Markdown."""
    routed = [one for one in models if one.model.architecture.routed_layers]
    if not routed:
        return "No model has a router: there is nothing to falsify.\n"
    parts = [f"{len(routed)} of {len(models)} models have routers; sequences of {factor}x the training length.\n"]
    if isinstance(routed[0].config.data, NeedleConfig):
        parts.append(_distractors(routed, factor))
    parts.append(_changed(routed, factor))
    return "\n".join(parts)


def _distractors(models: Sequence[Trained], factor: int) -> str:
    """Tabulate the share and the quality by number of distractors, with the test of the most against the fewest."""
    rows, shares, qualities = [], [], []
    for distractors in track(DISTRACTORS, "distractors"):
        found = [one.measure(one.with_distractors(distractors, factor)) for one in models]
        shares.append([_share(one) for one in found])
        qualities.append([one.quality for one in found])
        rows.append(
            {
                "distractors": str(distractors),
                "softmax share of routed layers": number(fmean(shares[-1])),
                "quality": number(fmean(qualities[-1])),
            }
        )
    rises = all(more > fewer for fewer, more in pairwise(map(fmean, shares)))
    p = paired_test(shares[-1], shares[0]), paired_test(qualities[-1], qualities[0])
    fell = fmean(qualities[0]) - fmean(qualities[-1])
    return (
        f"{markdown(rows)}\nThe share {'rises' if rises else 'does not rise'} with every step (most against none: p "
        f"{p_value(p[0])}); quality falls by {signed(fell)} (p {p_value(p[1])}).\n"
    )


def _changed(models: Sequence[Trained], factor: int) -> str:
    """Tabulate the quality with chunks left out and with the routes of the next seed, against that of own routes."""
    batches = [one.batches(factor) for one in models]

    def swapped(place: int) -> Policy:
        return routes_of(models[(place + 1) % len(models)], models[place].model, batches[place])

    changes: list[tuple[str, Callable[[int], Policy]]] = [("own routes", lambda _: learnt)]
    for part, kept in ((part, kept) for part in PARTS for kept in (True, False)):
        name = f"without {part:.0%} of {'kept' if kept else 'as many other'} chunks"
        changes.append((name, partial(without, part, kept)))  # the seed of the choice is the place of the model
    if len(models) > 1:
        changes.append(("routes of the next seed", swapped))
    measured: dict[str, list[Evaluation]] = {}
    for name, policy in track(changes, "routes changed"):
        pairs = enumerate(zip(models, batches, strict=True))
        measured[name] = [one.measure(given, policy(place)) for place, (one, given) in pairs]
    own = next(iter(measured.values()))
    return markdown([_row(name, found, own, models) for name, found in measured.items()])


def _row(
    name: str, found: Sequence[Evaluation], own: Sequence[Evaluation], models: Sequence[Trained]
) -> dict[str, str]:
    values, before = ([one.quality for one in of] for of in (found, own))
    return {
        "routes": name,
        "softmax share of routed layers": number(fmean(map(_share, found))),
        "quality": number(fmean(values)),
        "difference": signed(fmean(values) - fmean(before)),
        "p": p_value(paired_test(values, before)),
    }


def _share(found: Evaluation) -> float:
    """Return the mean softmax share over routed layers and heads."""
    return fmean(share for heads in found.shares.values() for share in heads)


def main() -> None:
    """Measure the searched models of the finished tasks, print and write the tables."""
    study = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        prog="python -m experiments.token_vs_hand.falsify", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", nargs="+", choices=list(study["tasks"]), help="tasks (default: all finished ones)")
    add_folders(parser, HERE.name)
    parser.add_argument("--factor", type=int, default=4, help="length, times the training length (default: 4)")
    parser.add_argument(
        "--searches",
        nargs="+",
        choices=SEARCHES,
        default=SEARCHES,
        help="searches to test, whose weights are there (default: all)",
    )
    given = parser.parse_args()
    output, results = folders_of(given, HERE)
    for name in given.only or list(study["tasks"]):
        stage = task_of(study, name, output).main
        if (found := stage.result) is None or stage.begun is None:
            print(f"{name}: not finished in {output}")
            continue
        parts = [
            f"## {one.name}\n\n{report([load(folder) for folder in trained(stage.begun, one)], given.factor)}"
            for one in found.searched
            if one.name in given.searches
        ]
        text = "\n".join(parts) + f"\n{machine()}.\n"
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{name}_falsification.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    sys.exit(status_of(main))
