"""Search hybrids of two pretrained models at fractions of their cache, and compare them with placements by a rule.

    python -m experiments.pretrained --plan                                   # what is left, and nothing else
    python -m experiments.pretrained --models llama --budgets quarter --deadline 8
    python -m experiments.pretrained --models gemma --workers 2 --deadline 8  # a GPU for each of two workers
    python -m experiments.pretrained --smoke                                  # on a CPU

The models are a Llama of 30 million parameters, which `llama.py` trains with `transformers` alone, and Gemma 3 270M
(`gemma.py`), without which its part is left out. `config.yaml` has all options, and `criterion.md` the rule by which
`rule.py` judges. Both models and their tokens are made in the output folder where they are missing; they are large
and need not be taken along. Each job is one `nas.search` and is measured as soon as it ends. Then its weights and
checkpoints are deleted, so that a finished job is small files alone. Times of prompts and tokens need a GPU for each
worker.

After ``--deadline`` minutes nothing new starts; a running search saves a checkpoint and stops. The same command
continues, and does not repeat finished jobs. On another machine a stopped search begins anew, unless its checkpoints
are taken along.
"""

import argparse
import sys
from pathlib import Path

import yaml

from experiments.command_line import folders_of, in_mode, study_parser
from experiments.pretrained.results import write
from experiments.pretrained.study import CORPUS, Job, Study
from experiments.runs import deadline_in, status_of
from nas.comparisons.estimate import spoken

HERE = Path(__file__).parent


def main() -> int:
    """Run the study: parse the command line, print the plan, make missing runs, write the table and the verdicts."""
    config = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    given = _parser(config).parse_args()
    config = in_mode(config, config[given.mode] if given.mode else None)
    output, results = folders_of(given, HERE)
    corpus = given.corpus or (HERE if given.mode else CORPUS)
    study = Study(config, output, corpus, given.overrides, given.keep)
    jobs = _wanted(study, given)
    left = [job for job in jobs if not job.done]
    each = config.get("minutes", 0.5)
    print(f"{len(left)} of {len(jobs)} searches are left: about {spoken(60 * each * len(left) / given.workers)}")
    if given.plan:
        for job in left:
            print(f"  {job.model} {job.budget} {job.contender} seed {job.seed}")
        return 0
    try:
        _run(study, left, given.workers, deadline_in(given.deadline))
    finally:
        print(write(study, results))
    print(f"written to {results}")
    return 0


def _run(study: Study, left: list[Job], workers: int, deadline: float | None) -> None:
    """Make what is left, the models that can be had here."""
    models = list(dict.fromkeys(job.model for job in left))
    for model in list(models):
        if reason := study.left_out(model):
            print(f"Left out: {model} {reason}.", flush=True)
            models.remove(model)
        else:
            study.prepare(model, deadline)
    if models:
        study.run([job for job in left if job.model in models], workers, deadline)


def _wanted(study: Study, given: argparse.Namespace) -> list[Job]:
    """Return the jobs that the command line selects."""
    chosen = {"model": given.models, "budget": given.budgets, "contender": given.contenders, "seed": given.seeds}
    return [
        job
        for job in study.jobs()
        if all(values is None or getattr(job, name) in values for name, values in chosen.items())
    ]


def _parser(config: dict[str, dict[str, object]]) -> argparse.ArgumentParser:
    modes = {"smoke": "a tiny Llama and two contenders, on the CPU"}
    parser = study_parser("pretrained", __doc__, modes, "searches", ", each with a GPU")
    for name in ("models", "budgets", "contenders"):
        known = list(config["fractions" if name == "budgets" else name])
        parser.add_argument(f"--{name}", nargs="+", choices=known, help=f"{name} (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of config.yaml (default: all)")
    parser.add_argument("--corpus", type=Path, help="folder with the text (default: the installed Python packages)")
    parser.add_argument("--keep", action="store_true", help="keep the weights and checkpoints of finished searches")
    return parser


if __name__ == "__main__":
    sys.exit(status_of(main))
