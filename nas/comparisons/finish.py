"""The end of a comparison: time every model, collect the results, write and draw them."""

from pathlib import Path
from typing import Any

from rich.console import Console

from nas.comparisons.collect import Timings, collect
from nas.comparisons.figures.draw import draw
from nas.comparisons.jobs import Jobs
from nas.comparisons.metrics_file import shares_at
from nas.comparisons.page import page
from nas.comparisons.results import RESULTS
from nas.comparisons.summary import Summary
from nas.comparisons.table import terminal, to_csv, to_json, to_markdown
from nas.config import RunConfig
from nas.console import say
from nas.data.seeding import generator
from nas.distributed.strategies import root_device
from nas.evaluation.latency import decode_seconds_per_token, prefill_seconds_per_token
from nas.models.language_model import LanguageModel
from nas.models.policies import at_random
from nas.report.embed import write_page
from nas.runs.folder import ARCHITECTURE, REPORT, Run, read_json
from nas.runs.metrics import read_metrics
from nas.runs.model_files import load_architecture

TIMINGS = "timings.json"
MARKDOWN, CSV, TABLE = "table.md", "table.csv", "table.json"


def finish(jobs: Jobs, run: Run, console: Console) -> None:
    """Write and print the results of a comparison, whose trainings must all be done.

    Args:
        jobs: the trainings of the comparison.
        run: the run folder of the comparison.
        console: where the results are printed.
    """
    timings = _timed(jobs, run, console)
    comparison = collect(jobs, timings)
    summary = Summary.of(comparison)
    run.write_json(RESULTS, comparison.to_dict())
    run.write_text(MARKDOWN, to_markdown(summary) + _listed(summary.notes))
    run.write_text(CSV, to_csv(summary))
    run.write_text(TABLE, to_json(summary))
    draw(summary, run.path)
    write_page(run.path / REPORT, page(summary, run.path, run.path))
    console.print(terminal(summary))
    for sentence in (*summary.notes, f"Open {run.path / REPORT}; every figure: {run.path / MARKDOWN}."):
        say(console, sentence)


def _timed(jobs: Jobs, run: Run, console: Console) -> Timings:
    """Return the timings of the contenders, each measured alone; timings in the run folder are not measured again.

    With timing=false no model is timed.
    """
    known: dict[str, Any] = read_json(run.path / TIMINGS) or {}
    if not jobs.config.timing:
        return known
    context = jobs.config.context
    what = f"Timing prompts and generation at {context} tokens"
    with console.status(f"{what} ...") as status:
        for number, contender in enumerate(jobs.contenders, start=1):
            if contender.name not in known:
                status.update(f"{what}: {contender.name}, {number} of {len(jobs.contenders)} ...")
                trained = jobs.result(jobs.counted(contender)[0])
                assert trained is not None
                known[contender.name] = timing(trained.path, jobs.config, context)
                run.write_json(TIMINGS, known)
    return known


def timing(trained: Path, config: RunConfig, context: int) -> dict[str, float]:
    """Return the seconds per token of a prompt and per generated token, at the softmax shares measured on data.

    Time does not depend on the weights, so the model has random ones.

    Args:
        trained: folder with the architecture and the metrics of a finished run.
        config: options of the run; its trainer says on which device and in which precision.
        context: number of tokens of the prompt, and before the generated tokens.
    """
    trainer = config.trainer
    model = LanguageModel(load_architecture(trained / ARCHITECTURE)).to(root_device(trainer)).eval()
    shares = shares_at(read_metrics(trained).learnt, config.data.length, context)
    policy = at_random(shares, generator(config.seed, "timing"))
    return {
        "prefill": prefill_seconds_per_token(model, context, policy=policy, precision=trainer.precision),
        "decode": decode_seconds_per_token(model, context, policy=policy, precision=trainer.precision),
    }


def _listed(notes: list[str]) -> str:
    return "\n## Notes\n\n" + "".join(f"- {note}\n" for note in notes) if notes else ""
