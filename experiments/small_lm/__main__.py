"""Compare searched hybrids with hybrids by hand as small language models on C sources.

    python -m experiments.small_lm.corpus linux-source-6.12.tar.xz outputs/corpus     # first: the text and its tokens
    python -m experiments.small_lm --plan                                             # the device time, nothing else
    python -m experiments.small_lm --workers 4 --deadline 8.5                         # again to continue
    python -m experiments.small_lm --stage search tuning                              # pilots alone
    python -m experiments.small_lm --only linear token_hybrid --seeds 0               # some of the trainings
    python -m experiments.small_lm --size 60m --workers 4
    python -m experiments.small_lm --smoke                                            # on a CPU, two minutes

`config.yaml` has all options, and `criterion.md` the rule by which `rule.py` judges. With N workers each training has
a GPU of its own. After ``--deadline`` minutes nothing new starts, and running trainings save a checkpoint and stop. The
same command continues.

A training that is done leaves a folder of small files in ``--records``, with all of its measurements. Nothing else is
needed to continue on another machine: tar that folder. Checkpoints of trainings that are not done stay in ``--output``.
Tables go to `results/`.
"""

import argparse
import io
import sys
import tarfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from experiments.command_line import folders_of, in_mode, study_parser
from experiments.runs import deadline_in, each_of, status_of, threads
from experiments.small_lm import corpus, report
from experiments.small_lm.recipe import REPORTED, STAGES
from experiments.small_lm.study import Job, Left, Study
from nas.comparisons.estimate import spoken
from nas.errors import UserError
from nas.report.units import count

HERE = Path(__file__).parent


def main() -> None:
    """Run the study: parse the command line, print the plan, make missing trainings, write table and verdict."""
    config = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    given = _parser(list(config["sizes"])).parse_args()
    output, results = folders_of(given, HERE)
    config = in_mode(config, config[given.mode] if given.mode else None)
    if given.mode:
        given.corpus = output / "corpus"
        corpus.make(made_up(output), given.corpus, config["corpus"], ["validation=0.2"])
    records = given.records or output / "records"
    study = Study(config, given.size, output / "runs", records, given.corpus, given.overrides)
    _check(study, given.only or [])
    print(plan(study.left(), config, given.size, given.rate), flush=True)
    if given.plan:
        return
    _make(study, given)
    left = next(one.trainings for one in study.left() if one.stage == REPORTED)
    print(report.write(results, given.size, study.trained(), left, notes(study), study.recipe.length))


def _parser(sizes: list[str]) -> argparse.ArgumentParser:
    modes = {"smoke": "tiny models on a made-up corpus, on the CPU"}
    parser = study_parser("small_lm", __doc__, modes, where=", one on each GPU")
    parser.add_argument("--size", choices=sizes, default=sizes[0], help=f"size of the models (default: {sizes[0]})")
    parser.add_argument("--corpus", type=Path, default=Path("outputs/corpus"), help="folder of the corpus")
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(STAGES), help="stages to run (default: all)")
    parser.add_argument("--only", nargs="+", help="contenders to run (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of reported trainings to run (default: all)")
    parser.add_argument("--rate", type=float, help="training tokens a second on a GPU, for the plan")
    parser.add_argument("--records", type=Path, help="where records go (default: records/ in the output folder)")
    return parser


def _check(study: Study, only: Sequence[str]) -> None:
    """Raise a UserError for a name that is no contender."""
    known = {*study.names, *study.recipe.offsets}
    if unknown := [name for name in only if name not in known]:
        raise UserError(f"--only {unknown[0]} is no contender; choose from: {', '.join(sorted(known))}.")


def _make(study: Study, given: argparse.Namespace) -> None:
    """Make the trainings that can begin until there are none: some depend on others."""
    deadline = deadline_in(given.deadline)
    while jobs := {study.folder(job): job for job in study.ready() if _is_wanted(job, given)}:
        work = partial(_work, study, jobs)
        each_of(list(jobs), work, given.workers, threads(given.workers), deadline)


def _work(study: Study, jobs: Mapping[Path, Job], folder: Path, *where: Any) -> None:
    study.make(jobs[folder], *where)


def _is_wanted(job: Job, given: argparse.Namespace) -> bool:
    return (
        job.stage in given.stage
        and (given.only is None or job.contender in given.only)
        and (given.seeds is None or job.stage != REPORTED or job.seed in given.seeds)
    )


def plan(every: Sequence[Left], config: Mapping[str, Any], size: str, rate: float | None = None) -> str:
    """Return the trainings that are left with their tokens and the time of one GPU, as text.

    Args:
        every: what is left, by stage.
        config: content of config.yaml.
        size: name of the size.
        rate: training tokens a second on a GPU; None for the estimate of the config.
    """
    estimate = config["estimate"]
    rate = rate or estimate["tokens_per_second"] * config["sizes"][size].get("speed", 1.0)
    lines, total = [], 0.0
    for one in every:
        fixed = estimate["minutes_per_run"] + (estimate["minutes_of_suites"] if one.stage == REPORTED else 0.0)
        minutes = one.trainings * (one.tokens / rate / 60 + fixed)
        total += minutes
        each = f"{one.trainings} left, {count(one.tokens)} tokens each, about {spoken(60 * minutes)} of a GPU"
        lines.append(f"{one.stage}: {each if one.trainings else 'none left'}")
    if total:
        lines.append(f"{size} in all: about {spoken(60 * total)} of a GPU, at {count(rate)} tokens a second")
    return "\n".join(lines)


def notes(study: Study) -> list[str]:
    """Return what the tables do not show: hybrids that were ruled out, rates at an end of the grid, the answer."""
    found = []
    if study.hybrids is not None and (out := [name for name in study.recipe.offsets if name not in study.hybrids]):
        found.append(f"Ruled out by the tuning trainings: {', '.join(out)}.")
    if study.answer is None:
        found.append(f"The search at size {study.answer_of} is not done; it is a stage of that size.")
    ends = [f"{name} ({end})" for name in study.names if (end := study.rate_at_end(name))]
    if ends:
        found.append(f"The best learning rate is an end of the grid for {', '.join(ends)}.")
    return found


def made_up(folder: Path) -> Path:
    """Write an archive of a few made-up C sources, as small as a smoke test needs, and return its path."""
    path = folder / "sources.tar"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for place in [f"lib/part{number}.c" for number in range(60)] + [
            f"fs/ext4/part{number}.c" for number in range(8)
        ]:
            word = f"count_{place[-3]}{len(place)}x"
            line = f"static int {word}_of(int {word}) {{\n\treturn {word} + {word}_of({word} - 1);\n}}\n"
            content = line.encode() * 12
            entry = tarfile.TarInfo(f"linux/{place}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


if __name__ == "__main__":
    sys.exit(status_of(main))
