"""The results as Markdown, and as JSON that later runs can extend."""

import datetime
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from experiments.kernel_speed import peers
from experiments.kernel_speed.delta_rule import peers as delta_peers
from experiments.kernel_speed.limits import Ceilings
from experiments.kernel_speed.rows import Row
from experiments.kernel_speed.timing import Value
from nas.report.units import markdown

Results = dict[str, Any]
"""By part: its subject, date and machine, the ceilings there, notes and rows; JSON values only."""

DEFINITIONS = """\
- Shapes, unless a case names others: the 340M NAtS-L layer; linear branch 6 heads x (128, 256), softmax branch 12 heads
  x (64, 128), chunks of 64, 6 routing heads, bf16, B * T = 32768. "16/32 heads" are 16 of q and k and 32 of v. p is the
  share of chunks routed to softmax, random and exact in each head; the rest goes to linear. The route's gradient is
  "selected" unless a row says otherwise.
- All contenders of a row are timed in one process, in turn, by CUDA events; the L2 is overwritten before every timed
  call and two input sets alternate. A value is the median over the rounds, in brackets (90th - 10th percentile) /
  median.
- Times are the GPU's: the host starts early, so that Python's time to launch kernels does not count. Separate rows show
  that launch time. A training step whose GPU time is shorter waits for Python, unless it is replayed as a CUDA graph.
- "forward" keeps nothing for a backward pass; "forward + backward" computes the gradients of all inputs and parameters.
- "activations" is the memory that the forward pass of training leaves allocated, with its outputs, without its inputs.
- "floor" is the least time on this machine: the operations or bytes of the definition, whichever take longer, at the
  measured ceilings, forward and backward passes added; "of limit" is floor / ours.
"""


def machine(device: torch.device) -> dict[str, str]:
    """Return a description of the machine that a part is measured on."""
    on_device = device.type == "cuda"
    return {
        "GPU": torch.cuda.get_device_name(device) if on_device else "CPU (to test the script only)",
        "driver": _driver() if on_device else "-",
        "torch": torch.__version__,
        "triton": peers.version("triton"),
        peers.FLA: peers.fla_version(),
        delta_peers.FLASH_QLA: peers.version("flash-qla"),
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
        return lines[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def slug(name: str) -> str:
    """Turn a machine's name into a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.split("(")[0].lower()).strip("-")


def new_part(about: str, where: dict[str, str], ceilings: Ceilings) -> dict[str, Any]:
    """Return a part's results before its first row; about: a title, then optionally a blank line and more text."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    limits = {"flops": ceilings.flops, "bytes": ceilings.bytes}
    return {"about": about, "machine": where, "date": today, "ceilings": limits, "notes": [], "rows": []}


def load(path: Path) -> Results:
    """Load the results of an earlier run; empty without one."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(results: Results, folder: Path) -> Path:
    """Write results.json and the Markdown of all its parts; returns the path of the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    name = next(iter(results.values()))["machine"]["GPU"] if results else "none"
    path = folder / f"{slug(name)}.md"
    path.write_text(render(results), encoding="utf-8")
    return path


def render(results: Results) -> str:
    """Render all parts as Markdown: the definitions, and one section per part."""
    return _page({name: _section(name, part) for name, part in results.items()})


def update(path: Path, results: Results, order: Iterable[str]) -> None:
    """Replace the sections of these parts in a Markdown file of `render`, or add them; the others stay as they are.

    Args:
        order: names of all parts, in the order of their sections.
    """
    sections = _sections(path.read_text(encoding="utf-8"))
    sections |= {name: _section(name, part) for name, part in results.items()}
    known = {name: sections.pop(name) for name in order if name in sections}
    path.write_text(_page(known | sections), encoding="utf-8")


HEADING = "\n## "


def _page(sections: dict[str, str]) -> str:
    return "\n".join(["# Kernels and their peers\n", DEFINITIONS, *sections.values()]).rstrip() + "\n"


def _sections(text: str) -> dict[str, str]:
    """Return the sections of a page by the names of their parts."""
    _, *sections = text.split(HEADING)
    return {section.split(":")[0]: f"{HEADING}{section.rstrip()}\n" for section in sections}


def _section(name: str, part: dict[str, Any]) -> str:
    rows = [Row.from_dict(row) for row in part["rows"]]
    flops, bandwidth = part["ceilings"]["flops"] / 1e12, part["ceilings"]["bytes"] / 1e12
    title, _, more = part["about"].partition("\n\n")
    text = f"{HEADING}{name}: {title.rstrip('.')}\n\n" + (more + "\n\n" if more else "")
    where = ", ".join(f"{key} {value}" for key, value in part["machine"].items())
    text += f"Measured {part['date']} on {where}; ceilings {flops:.3g} TFLOP/s and {bandwidth:.2f} TB/s.\n\n"
    text += "".join(f"- {note}\n" for note in part["notes"]) + "\n" * bool(part["notes"])
    text += markdown(cells(rows)) if rows else "Nothing was measured.\n"
    failures = dict.fromkeys(
        f"- {row.case}, {row.what}, {contender}: {value.failure}"
        for row in rows
        for contender, value in row.values.items()
        if value.failure
    )
    return text + ("\nNot measured:\n\n" + "\n".join(failures) + "\n" if failures else "")


def cells(rows: list[Row]) -> list[dict[str, str]]:
    """Convert rows to the cells of one table; empty columns are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    table = []
    for row in rows:
        share = row.share_of_limit()
        line = {"case": row.case, "what": row.what}
        line |= {name: shown(row.values.get(name)) for name in names}
        line["floor ms"] = "" if row.floor_ms is None else f"{row.floor_ms:.3g}"
        line["of limit"] = "" if share is None else f"{share:.0%}"
        line["targets and findings"] = "; ".join([str(check) for check in row.checks] + [row.note] * bool(row.note))
        table.append(line)
    kept = [column for column in table[0] if any(line[column] for line in table)]
    return [{column: line[column].replace("|", "/") for column in kept} for line in table]


def shown(value: Value | None) -> str:
    """Format a value with its spread; "failed" if the measurement failed."""
    if value is None:
        return ""
    if value.value is None:
        return "failed" if value.failure else "-"
    digits = 0 if value.value >= 1000 else 1 if value.value >= 100 else 2 if value.value >= 1 else 3
    text = f"{value.value:.{digits}f}"
    return text if value.spread is None else f"{text} ({value.spread:.0%})"


def printed(part: str, row: Row) -> str:
    """Format a row as lines for the terminal."""
    values = [f"{name} {shown(value)}" for name, value in row.values.items() if value.value is not None]
    share = row.share_of_limit()
    if row.floor_ms is not None:
        values.append(f"floor {row.floor_ms:.3g}" + ("" if share is None else f" ({share:.0%} of limit)"))
    lines = [f"[{part}] {row.case}, {row.what}: " + " | ".join(values)]
    lines += [f"    {check}" for check in row.checks]
    lines += [f"    {row.note}"] * bool(row.note)
    lines += [f"    {name} failed: {value.failure}" for name, value in row.values.items() if value.failure]
    return "\n".join(lines)


def verdicts(results: Results) -> str:
    """Format every target of every part, one per line, with the missed ones last."""
    found = [
        (check.met, f"{name}, {row.case}, {row.what}: {check}")
        for name, part in results.items()
        for row in map(Row.from_dict, part["rows"])
        for check in row.checks
    ]
    return "\n".join(line for _, line in sorted(found, key=lambda pair: not pair[0]))
