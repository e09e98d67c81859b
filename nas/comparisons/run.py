"""A comparison: contenders trained from scratch by one recipe over several seeds."""

from collections.abc import Sequence

from rich.console import Console

from nas.cli import overrides
from nas.cli.checks import check_together
from nas.comparisons.contenders import Contender, contenders
from nas.comparisons.estimate import plan
from nas.comparisons.finish import finish
from nas.comparisons.grid import OVER_SEEDS
from nas.comparisons.jobs import Jobs, trainings
from nas.comparisons.recipe import ComparedRun, follow, read_run, warn_of_other_source
from nas.comparisons.searches import shared_options
from nas.comparisons.workers import run_jobs
from nas.config import CompareConfig
from nas.console import say
from nas.data import build_task
from nas.data.batch import Task
from nas.distributed.devices import AUTO
from nas.distributed.launch import launched
from nas.errors import UserError
from nas.evaluation.selection_lengths import selection_lengths
from nas.pretrained.tokenizer import check_tokenizer
from nas.runs.folder import Run
from nas.runs.opening import opened
from nas.runs.source import keep_source, source_of


def compare(config: CompareConfig, console: Console) -> int:
    """Run one comparison and return the exit status."""
    _check(config)
    runs = [read_run(folder) for folder in config.runs]
    follow(config, runs)
    check_together(config)
    task = build_task(config.data, config.seed)
    check_tokenizer(task, config.model)
    if config.resume is None:
        config.shared = shared_options()
    config.tuning_factors = selection_lengths("tuning_factors", config.tuning_factors, config.data.length_factors, task)
    every = contenders(config, runs, task.vocab_size)
    _check_wanted(config, every, task)
    with opened("compare", config) as run:
        return _compare_in(run, config, runs, every, task, console)


def _compare_in(
    run: Run,
    config: CompareConfig,
    runs: Sequence[ComparedRun],
    every: list[Contender],
    task: Task,
    console: Console,
) -> int:
    """Train the contenders and write the results in a run folder that this process has locked."""
    warn_of_other_source(runs, source_of(task))
    keep_source(run, source_of(task), console)
    jobs = Jobs(config, every, run.path)
    say(
        console,
        f"Comparing {', '.join(one.name for one in every)} on {task.name}: "
        f"{plan(config, every, task, len(jobs.done), jobs.added)}; run folder {run.path}",
    )
    status = run_jobs(jobs, console)
    if status:
        say(console, f"{len(jobs.done)} of {len(jobs)} trainings are done. Continue with: resume={run.path}")
        return status
    finish(jobs, run, console)
    return 0


def _check_wanted(config: CompareConfig, every: Sequence[Contender], task: Task) -> None:
    """Raise a UserError that says what would be trained, if the user did not say what to compare."""
    if config.resume is not None or {"runs", "searched", "baselines"} & set(map(overrides.name_of, overrides.given())):
        return
    raise UserError(
        f"runs, searched and baselines are missing, and nothing was started. {', '.join(one.name for one in every)} "
        f"would be compared on data={config.data.name}: {plan(config, every, task)}. Give runs=[outputs/search/RUN], "
        f"searched=[joint], baselines=[{','.join(config.baselines)}], or several of them. A comparison of N models "
        f"trains N * {trainings(config, every[:1])} times; smaller seeds={config.seeds}, fewer "
        f"learning_rates={config.learning_rates} or trainer.steps={config.trainer.steps} shorten it."
    )


def _check(config: CompareConfig) -> None:
    """Raise UserError for the first option that is not allowed."""
    if launched().world > 1:
        raise UserError(
            "nas.compare was started as several processes, but it starts its own; start it once, with workers=N for "
            "N trainings at a time."
        )
    if config.workers != AUTO and not isinstance(config.workers, int):
        raise UserError(f"workers={config.workers} is not allowed; give auto, or 1 or more.")
    if config.tuned_by not in OVER_SEEDS:
        raise UserError(f"tuned_by={config.tuned_by} is unknown; choose one of: {', '.join(OVER_SEEDS)}.")
    if not config.learning_rates:
        raise UserError(f"learning_rates={config.learning_rates} is not allowed; give one or more numbers over 0.")
