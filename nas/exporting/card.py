"""The model card of an export: how the model was found, its layers, its measured figures, and how to use it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nas.evaluation.metrics import DIRECTION
from nas.exporting.folder import CODE
from nas.latency.table import LATENCY
from nas.report.units import markdown, number, size
from nas.results.opened import OpenedRun
from nas.results.report_data import cells
from nas.runs.metrics import Metrics
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.backbone import SLIDING


class Exported(NamedTuple):
    """What a card says of the folder.

    Attributes:
        name: name of the folder.
        family: stock family of `transformers`; None for a folder with code.
        tokenizer: sentence on a missing tokenizer; empty if there is one.
    """

    name: str
    family: str | None
    tokenizer: str


def card_of(opened: OpenedRun, a: Architecture, exported: Exported) -> str:
    """Return the text of README.md, in Markdown."""
    assert opened.metrics is not None
    sections = [
        _front_matter(opened, exported),
        f"# {exported.name}\n\n{_summary(opened, a)}",
        f"## Use\n\n{_use(exported)}",
        f"## How it was found\n\n{_origin(opened)}",
        f"## Layers\n\n{_layers(a, opened.metrics)}",
        f"## Measured figures\n\n{_figures(opened)}",
        f"## Publish\n\n{_publish(exported)}",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(opened: OpenedRun, exported: Exported) -> str:
    path = opened.config.model.path
    base = [f"base_model: {json.dumps(Path(path).name)}"] if path else []
    tags = ["hybrid-attention", "neural-architecture-search", *([] if exported.family else ["custom_code"])]
    lines = ["library_name: transformers", "pipeline_tag: text-generation", *base, "tags:", *(f"- {t}" for t in tags)]
    return "\n".join(["---", *lines, "---"])


def _summary(opened: OpenedRun, a: Architecture) -> str:
    assert opened.metrics is not None
    start = (
        f" It started from the weights of {Path(opened.config.model.path).name}." if opened.config.model.path else ""
    )
    return (
        f"A language model with {len(a.layers)} layers and {opened.metrics.cost.parameters:,} parameters, trained by "
        f"nas-hybrid-attention. The operations that mix its tokens are listed below.{start}"
    )


def _use(exported: Exported) -> str:
    trust = "" if exported.family else ", trust_remote_code=True"
    load = [
        "```python",
        "from transformers import AutoModelForCausalLM" + ("" if exported.tokenizer else ", AutoTokenizer"),
        "",
        f'lm = AutoModelForCausalLM.from_pretrained("{exported.name}"{trust})',
    ]
    if exported.tokenizer:
        load += ["print(lm.generate(input_ids, max_new_tokens=50))  # input_ids: int64 [batch, length]", "```", ""]
        load += [exported.tokenizer]
    else:
        load += [
            f'tok = AutoTokenizer.from_pretrained("{exported.name}"{trust})',
            'inputs = tok(["Once upon a time"], return_tensors="pt", padding=True)',
            "print(tok.batch_decode(lm.generate(**inputs, max_new_tokens=50)))",
            "```",
        ]
    if exported.family:
        return "\n".join([*load, "", f"The folder has no code: it is a model of the family `{exported.family}`."])
    return "\n".join(
        [
            *load,
            "",
            f"`{CODE}` needs torch and transformers only. Where nas-hybrid-attention is installed, its kernels compute "
            "whole sequences. The cache of `generate` keeps the keys and values of chunks that routers keep, those of "
            "windows, and states of fixed size. Pad prompts on the left. Beam search and assisted generation are not "
            "supported.",
        ]
    )


def _origin(opened: OpenedRun) -> str:
    described, config, metrics = opened.run.described(), opened.config, opened.metrics
    assert metrics is not None
    space = getattr(config, "space", None)
    rows = [
        ("command", f"`{described.get('command_line', described['command'])}`"),
        ("search space", getattr(space, "name", None)),
        ("searcher", None if metrics.searched is None else metrics.searched.searcher),
        ("budget", _budget(metrics) if space else None),
        ("data", opened.tokens),
        ("training", f"{metrics.step:,} steps, {metrics.training_tokens:,} tokens"),
        ("seed", str(config.seed)),
        ("commit", described.get("commit")),
        ("versions", ", ".join(f"{name} {of}" for name, of in (described.get("versions") or {}).items())),
        ("run", opened.run.path.name),
    ]
    return _table(["what", "value"], [(name, str(value)) for name, value in rows if value])


def _budget(metrics: Metrics) -> str:
    """Return the limit of a budget, with a unit where the name of the resource does not say it."""
    unit = " ms" if metrics.budget.resource == LATENCY else ""
    return f"{metrics.budget.resource} at most {number(metrics.budget.target)}{unit}"


def _layers(a: Architecture, metrics: Metrics) -> str:
    shares = metrics.learnt.at_training_length.shares
    rows = []
    for index, layer in enumerate(a.layers):
        own = shares.get(index, [])
        kept = ", ".join(number(share) for share in own) if layer.routed else ""
        window = f", {a.window} tokens" if layer.mixer == SLIDING else ""
        chunk = f"{layer.chunk_size}" if layer.routed else ""
        rows.append((str(index), layer.mixer + window, chunk, kept, str(layer.mlp_width or a.mlp_width)))
    return _table(["layer", "mixer", "tokens in a chunk", "share of kept chunks by routing head", "MLP width"], rows)


def _figures(opened: OpenedRun) -> str:
    metrics = opened.metrics
    assert metrics is not None
    made = cells(metrics, opened.config.data.length)
    quality = metrics.quality.replace("_", " ")
    cost = [
        (f"{context:,}", size(kept), f"{metrics.cost.flops_per_token[context]:,.0f}")
        for context, kept in metrics.cost.kv_bytes.items()
        if context in metrics.cost.flops_per_token
    ]
    return "\n\n".join(
        [
            f"Quality on validation sequences, by length: {quality} ({DIRECTION[metrics.quality]}). "
            "Rows after the first are the same weights under other routings or as other architectures.",
            _table(list(made[0]), [tuple(row.values()) for row in made]),
            "Cost of a sequence, with keys and values in bfloat16:",
            _table(["context in tokens", "cache", "FLOPs of a token"], cost),
            *metrics.notes,
        ]
    )


def _publish(exported: Exported) -> str:
    return (
        "Nothing was uploaded. To publish the folder under an account of yours:\n\n"
        f"```bash\nhf auth login\nhf upload YOUR_NAME/{exported.name} .\n```"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown([dict(zip(heads, map(_escaped, row), strict=True)) for row in rows]).rstrip()


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")
