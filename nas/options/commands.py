"""Options of each command: what a training, a search, a sweep or a comparison is, and what is done with a finished run.

Those of `python -m nas.prepare` are in `nas.options.preparing`.
"""

from dataclasses import dataclass
from typing import Any

from nas.options.logging import LoggerConfig
from nas.options.preparing import PrepareConfig
from nas.options.suites import SuitesConfig
from nas.options.tasks import DataConfig
from nas.options.training import (
    AlignConfig,
    BudgetConfig,
    HealConfig,
    RelaxationConfig,
    SearcherConfig,
    TrainerConfig,
)
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.options import option


@dataclass
class RunConfig:
    """Options of every training command."""

    model: ModelConfig = option("sizes of the model")
    data: DataConfig = option("task")
    relaxation: RelaxationConfig = option("how logits become weights")
    budget: BudgetConfig = option("allowed cost")
    trainer: TrainerConfig = option("steps, optimiser and devices")
    logger: LoggerConfig = option("loggers beside TensorBoard", default_factory=LoggerConfig)
    seed: int = option("seed of all random numbers", at_least=0, ceiling=2**62)
    name: str = option("last part of the name of the run folder")
    output: str = option("folder of all run folders")
    resume: str | None = option("run folder of a killed or interrupted run to continue", default=None)
    plugins: list[str] = option(
        "modules, or paths of .py files, that add spaces, operations, tasks or searchers", default_factory=list
    )


@dataclass
class SearchConfig(RunConfig):
    """Options of `python -m nas.search`."""

    space: SpaceConfig = option("set of architectures")
    searcher: SearcherConfig = option("what selects the architecture")
    align: AlignConfig = option("what a search learns from its pretrained model", default_factory=AlignConfig)
    heal: HealConfig = option("what its answer learns from the pretrained model", default_factory=HealConfig)


@dataclass
class StudyConfig:
    """The study of a sweep: ranges of the options, sampler, objectives and workers."""

    trials: int = option("searches, over all workers", at_least=1, ceiling=10**6)
    workers: int = option("processes on this machine, each with one trial at a time", at_least=1, ceiling=10**4)
    objectives: list[str] = option("one or more of quality, share, kv_bytes, flops, parameters and seconds")
    context: int = option("tokens of the sequence for kv_bytes and flops", at_least=1, ceiling=10**12)
    ranges: dict[str, Any] = option("range of each option that varies, see `nas.sweeps.ranges`", default_factory=dict)
    sampler: str = option("sampler of Optuna")
    sampler_options: dict[str, Any] = option("arguments of the sampler", default_factory=dict)
    pruner: str = option("pruner of Optuna, or none; auto: the median pruner if quality is the only objective")
    pruner_options: dict[str, Any] = option("arguments of the pruner", default_factory=dict)
    prune_every: int = option("training steps between two decisions to prune", at_least=1, ceiling=10**9)
    storage: str | None = option(
        "database URL, or journal:FILE, which works on NFS too; null: SQLite in the sweep's folder", default=None
    )
    study: str = option("name of the study in the storage, common to all workers")
    heartbeat: float = option("seconds between two heartbeats of a running trial", above=0, ceiling=10**5)
    grace: float = option(
        "seconds without a heartbeat after which another worker runs the trial again", above=0, ceiling=10**6
    )
    retries: int = option("largest number of repetitions of a killed trial", at_least=0, ceiling=10**6)
    search: list[str] = option("given options of the search; set by the command", default_factory=list)


@dataclass
class SweepConfig(SearchConfig):
    """Options of `python -m nas.sweep`: the options of its searches, and the study."""

    sweep: StudyConfig = option("ranges, objectives and workers of the sweep")


@dataclass
class TrainConfig(RunConfig):
    """Options of `python -m nas.train`."""

    architecture: str = option(
        "name of a baseline, the mixer of each layer as in lsll or linear-softmax, or architecture.json of a run"
    )
    dense_start: bool = option(
        "whether layers of model.routed_layers are softmax until the loss has halved, as those of a search are",
        default=False,
    )


@dataclass
class CompareConfig(RunConfig):
    """Options of `python -m nas.compare`."""

    runs: list[str] = option("folders of finished runs; their options are the recipe")
    baselines: list[str] = option(
        "names or patterns of layers, as for nas.train architecture=, or all placements of a pattern: slll..llls"
    )
    seeds: int = option("trainings of each contender, with seeds from `seed` on", at_least=1, ceiling=10**4)
    learning_rates: list[float] = option(
        "grid from which each contender gets its best learning rate", above=0, ceiling=10
    )
    tuning_seeds: int = option("trainings of each contender at each learning rate", at_least=1, ceiling=10**4)
    tuning_factors: list[int] | None = option(
        "lengths at which learning rates are compared, times data.length; null: 1 and the longest factor up to 16",
        default_factory=lambda: [1],
        at_least=1,
        ceiling=10**6,
    )
    searched: list[str] = option(
        "spaces that are searched anew with each seed, each followed by options of nas.search: 'joint budget=flops'",
        default_factory=list,
    )
    shared: list[str] = option(
        "options of this command line that its searches have too; set by the command", default_factory=list
    )
    dense_start: bool = option(
        "whether hand-designed hybrids start as searched models do, see nas.train dense_start=", default=False
    )
    tuned_by: str = option(
        "quality of a learning rate over tuning seeds: that of the worst seed, or mean", default="mean"
    )
    added_rates: int = option(
        "largest number of learning rates that are added beyond each end of the grid while that end is best",
        default=0,
        at_least=0,
        ceiling=100,
    )
    workers: Any = option(
        "trainings at a time on this machine; auto: one for each core, or a few on each GPU",
        auto=True,
        at_least=1,
        ceiling=10**4,
    )
    context: int = option("tokens at which prefill and generation are timed", at_least=1, ceiling=10**9)
    timing: bool = option("whether they are timed; resume= with timing=true does it later")


@dataclass
class VisualizeConfig:
    """Options of `python -m nas.visualize`."""

    run: str | None = option("folder of a run, a sweep or a comparison", default=None)
    runs: str | None = option("folder with run folders, for the index page of all of them", default=None)
    compare: str | None = option("folder of a run to show beside it, on the same sequence", default=None)
    text: str | None = option("file whose routing is shown; only for tokens that are bytes", default=None)
    prompt: str | None = option("text whose routing is shown, instead of a file", default=None, free_text=True)
    tokens: int = option("largest number of tokens of the file or prompt to show", at_least=1, ceiling=10**9)
    output: str | None = option(
        "path of the page; null: report.html, or report-NAME.html, in the run's folder, or index.html", default=None
    )
    plugins: list[str] = option(
        "modules, or paths of .py files, with the tasks and operations of the run", default_factory=list
    )


@dataclass
class GenerateConfig:
    """Options of `python -m nas.generate`."""

    run: str | None = option("folder of a finished run of nas.search or nas.train", default=None)
    prompt: str | None = option(
        "text to continue; token ids where the tokens of the run are no text", default=None, free_text=True
    )
    prompts: str | None = option("file of prompts, instead of prompt: one a line, or .jsonl", default=None)
    max_tokens: int = option(
        "largest number of tokens to generate for each prompt", default=256, at_least=1, ceiling=10**9
    )
    temperature: float = option(
        "divisor of the logits; 0 selects the most probable token", default=1.0, at_least=0, ceiling=10**6
    )
    top_p: float = option(
        "only the most probable tokens whose probabilities sum to this are drawn", default=1.0, above=0, at_most=1
    )
    stop: str | None = option(
        "text that ends a continuation; a token id where the tokens of the run are no text",
        default=None,
        free_text=True,
    )
    share: float | None = option(
        "largest share of chunks that routers keep; null: their own thresholds", default=None, at_least=0, at_most=1
    )
    seed: int = option("seed of the draws", default=0, at_least=0, ceiling=2**62)
    device: str = option("auto, cpu, cuda or cuda:N; auto: cuda where there is a GPU", default="auto")
    plugins: list[str] = option(
        "modules, or paths of .py files, with the tasks and operations of the run", default_factory=list
    )


@dataclass
class EvaluateConfig:
    """Options of `python -m nas.evaluate`."""

    run: str | None = option("folder of a finished run of nas.search or nas.train", default=None)
    suite: list[str] | None = option("one or more of text, ruler, recall, identifiers", default=None)
    share: list[float] | None = option(
        "shares of chunks that routers keep at most, for the curve of one model", default=None, at_least=0, at_most=1
    )
    beside: list[str] = option("folders of runs to show beside the shares, as they were trained", default_factory=list)
    length_factor: int = option(
        "length of the sequences for share, as a multiple of data.length", default=1, at_least=1, ceiling=10**6
    )
    suites: SuitesConfig = option("options of the suites")
    output: str | None = option("folder of tables and figures; null: evaluation in the run's folder", default=None)
    device: str = option("auto, cpu, cuda or cuda:N; auto: cuda where there is a GPU", default="auto")
    plugins: list[str] = option(
        "modules, or paths of .py files, with the tasks and operations of the run", default_factory=list
    )


@dataclass
class ExportConfig:
    """Options of `python -m nas.export`."""

    run: str | None = option("folder of a finished run of nas.search or nas.train", default=None)
    to: str | None = option("folder to write, new or empty", default=None)
    format: str = option(
        "remote_code, stock (a family of transformers), or auto: stock where the family has all layers", default="auto"
    )
    overwrite: bool = option("whether to replace an earlier export in the folder", default=False)
    plugins: list[str] = option(
        "modules, or paths of .py files, with the tasks and operations of the run", default_factory=list
    )


CommandConfig = RunConfig | VisualizeConfig | GenerateConfig | EvaluateConfig | ExportConfig | PrepareConfig
"""Options of any command."""
