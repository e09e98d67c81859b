"""What every option is: typed fields, registered with Hydra as the schemas of `conf/`, where the values stand.

A field made by `option` says which numbers it may be; `nas.cli.checks` checks all of these.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import explain
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.options import option

CONF = Path(__file__).parent / "conf"
"""The folder of the YAML files, which Hydra finds by this path: any module named conf may be on Python's path."""
FOLDERS = [CONF]
"""All folders of YAML files: that of nas, and behind it those that `nas.plugins` adds."""


@dataclass
class DataConfig:
    """What every task has.

    length: tokens in a training sequence; batch_size: sequences of that length in a step; length_factors: at how many
    times the training length to measure at the end, 1 among them.
    """

    name: str = MISSING
    length: int = option(at_least=1)
    batch_size: int = option(at_least=1)
    validation_batches: int = option(at_least=1)
    length_factors: list[int] = MISSING


@dataclass
class RecallConfig(DataConfig):
    """Planted multi-query associative recall; see `nas.data.recall.Recall`."""

    keys: int = option(at_least=1)
    values: int = option(at_least=1)
    noise: int = option(at_least=1)
    min_length: int = option(at_least=1)
    pairs: int = option(at_least=1)
    min_pairs: int = option(at_least=1)
    block_size: int = option(at_least=1)
    block_margin: int = option(at_least=0)
    queries: int = option(at_least=1)


@dataclass
class MQARConfig(DataConfig):
    """Multi-query associative recall of Zoology; see `nas.data.mqar.MQAR`."""

    vocab_size: int = MISSING
    pairs: int = option(at_least=1)
    settings: list[list[int]] = MISSING
    power_a: float = option(above=0, at_most=1)
    random_non_queries: bool = MISSING


@dataclass
class NeedleConfig(DataConfig):
    """A needle in a haystack, after RULER; see `nas.data.needle.Needle`.

    path: null for Python's standard library; min_length: null for a short one with room for needle and question;
    value_length: null for that of the form in RULER.
    """

    form: str = MISSING
    path: str | None = None
    min_length: int | None = None
    value_length: int | None = option(at_least=1, default=None)


@dataclass
class StateTrackingConfig(DataConfig):
    """Running sums; see `nas.data.state_tracking.StateTracking`."""

    problem: str = MISSING
    modulus: int = option(at_least=2)
    min_length: int = option(at_least=1)


@dataclass
class TextConfig(DataConfig):
    """Bytes of a file or folder; see `nas.data.text.Text`. path: null for Python's standard library."""

    path: str | None = None


@dataclass
class RelaxationConfig:
    """How logits become weights, of routers and of layers.

    name: a function of `nas.relaxations`; router: one for routers alone, null for the same; pairs: whether only two
    options of a layer compete in a step; temperature goes from start to end.
    """

    name: str = MISSING
    router: str | None = None
    pairs: bool = False
    temperature_start: float = option(above=0)
    temperature_end: float = option(above=0)


@dataclass
class SearcherConfig:
    """Who chooses an architecture, and which options that has; see `nas.searchers`."""

    name: str = MISSING


@dataclass
class RandomConfig(SearcherConfig):
    """What every searcher has that scores candidates with the shared weights.

    evaluations: how many different architectures are scored at most; batches: that each is scored on.
    """

    evaluations: int = option(at_least=1)
    batches: int = option(at_least=1)


@dataclass
class EvolutionConfig(RandomConfig):
    """Regularised evolution. population: members; sample: how many of them compete to be the next parent."""

    population: int = option(at_least=1)
    sample: int = option(at_least=1)


@dataclass
class OptunaConfig(RandomConfig):
    """Optuna over architectures. sampler: name of one of its samplers; sampler_options: arguments of that."""

    sampler: str = MISSING
    sampler_options: dict[str, Any] = field(default_factory=dict)


@dataclass
class BudgetConfig:
    """The allowed cost and how it is enforced; see `nas.budget.controller.Budget`.

    resource: softmax_share, kv_bytes or flops; context: tokens of a sequence for which the last two are counted;
    target: in the resource's unit; exact: whether the budget is to be used up rather than not exceeded; start: dearest,
    both or cheapest, from where the target is approached.
    """

    resource: str = MISSING
    context: int = option(at_least=1)
    target: float = MISSING
    exact: bool = MISSING
    start: str = MISSING
    learnt_at: float = option(at_least=0, at_most=1)
    dense_until: float = option(at_least=0, at_most=1)
    tighten_over: float = option(at_least=0, at_most=1)
    rate: float = option(at_least=0)
    gain: float = option(at_least=0)
    price: float = option(at_least=0)
    settle_from: float = option(at_least=0, at_most=1)
    max_multiplier: float = option(at_least=0)


@dataclass
class TrainerConfig:
    """How long, how fast and on what; the optimiser is AdamW with warm-up and cosine decay.

    strategy: ddp, fsdp or "auto"; see `nas.distributed.strategies`. devices: how many, or which; num_nodes:
    how many machines. "auto" is as many as torchrun or srun started processes, and one device without them.
    architecture_learning_rate: of the logits of layers; bilevel: whether routers and these logits learn from held-out
    batches, in turn with the weights; cuda_graphs: true, false or "auto", see `nas.training.cuda_graphs.wanted`.
    """

    steps: int = option(at_least=1)
    learning_rate: float = option(above=0)
    router_learning_rate: float = option(at_least=0)
    architecture_learning_rate: float = option(at_least=0)
    bilevel: bool = MISSING
    router_eps: float = option(above=0)
    final_learning_rate: float = option(at_least=0, at_most=1)
    warmup_steps: int = option(at_least=0)
    weight_decay: float = option(at_least=0)
    beta2: float = option(at_least=0, below=1)
    gradient_clip: float = option(at_least=0)
    log_every: int = option(at_least=1)
    validate_every: int = option(at_least=1)
    checkpoint_every: int = option(at_least=1)
    accelerator: str = MISSING
    strategy: str = MISSING
    devices: Any = MISSING
    num_nodes: Any = MISSING
    precision: str = MISSING
    cuda_graphs: Any = MISSING


@dataclass
class RunConfig:
    """What every training command has. plugins: modules, or paths of .py files, that register more to choose from."""

    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    relaxation: RelaxationConfig = MISSING
    budget: BudgetConfig = MISSING
    trainer: TrainerConfig = MISSING
    seed: int = MISSING
    name: str = MISSING
    output: str = MISSING
    resume: str | None = None
    plugins: list[str] = field(default_factory=list)


@dataclass
class SearchConfig(RunConfig):
    """`python -m nas.search`."""

    space: SpaceConfig = MISSING
    searcher: SearcherConfig = MISSING


@dataclass
class StudyConfig:
    """The study of a sweep: what is varied, by which sampler, towards what, and how its workers agree.

    trials: how many searches, over all workers; workers: processes that this command starts; objectives: names of
    `nas.sweeps.objectives`; context: the context length, in tokens, that costs are given for; ranges: see
    `nas.sweeps.ranges`; sampler, pruner: names of Optuna's, or "auto" and "none"; prune_every: training steps;
    storage: null for SQLite in the sweep's folder, a database URL, or journal:FILE; study: the name by which workers
    find each other in the storage; heartbeat, grace: seconds; retries: how often a trial whose worker was killed is run
    again; search: options of the search as they were given, which the command fills in.
    """

    trials: int = option(at_least=1)
    workers: int = option(at_least=1)
    objectives: list[str] = MISSING
    context: int = MISSING
    ranges: dict[str, Any] = field(default_factory=dict)
    sampler: str = MISSING
    sampler_options: dict[str, Any] = field(default_factory=dict)
    pruner: str = MISSING
    pruner_options: dict[str, Any] = field(default_factory=dict)
    prune_every: int = option(at_least=1)
    storage: str | None = None
    study: str = MISSING
    heartbeat: float = MISSING
    grace: float = MISSING
    retries: int = option(at_least=0)
    search: list[str] = field(default_factory=list)


@dataclass
class SweepConfig(SearchConfig):
    """`python -m nas.sweep`: the options of its searches, and the study."""

    sweep: StudyConfig = MISSING


@dataclass
class TrainConfig(RunConfig):
    """`python -m nas.train`. architecture: softmax, linear, or the architecture.json of a run."""

    architecture: str = MISSING


@dataclass
class CompareConfig(RunConfig):
    """`python -m nas.compare`.

    runs: folders of finished runs; baselines: see `nas.search_spaces.baselines`; seeds: trainings of each;
    learning_rates: the grid that each is tuned over; tuning_seeds: trainings for each of them; workers: trainings at a
    time, or "auto"; context: tokens at which reading and generating are timed; timing: whether they are.
    """

    runs: list[str] = MISSING
    baselines: list[str] = MISSING
    seeds: int = option(at_least=1)
    learning_rates: list[float] = MISSING
    tuning_seeds: int = option(at_least=1)
    workers: Any = MISSING
    context: int = option(at_least=1)
    timing: bool = MISSING


@dataclass
class VisualizeConfig:
    """`python -m nas.visualize`.

    run: folder of a run, a sweep or a comparison; compare: of a run to show beside it; text: a file, prompt: a text, to
    show the routing of; tokens: at most so many of it; output: the page, null for one in the run's folder: report.html,
    or with text, prompt or compare report-<of what>.html; plugins: as in `RunConfig`.
    """

    run: str = MISSING
    compare: str | None = None
    text: str | None = None
    prompt: str | None = None
    tokens: int = option(at_least=1)
    output: str | None = None
    plugins: list[str] = field(default_factory=list)


SCHEMAS: dict[str, type] = {
    "search_schema": SearchConfig,
    "sweep_schema": SweepConfig,
    "train_schema": TrainConfig,
    "compare_schema": CompareConfig,
    "visualize_schema": VisualizeConfig,
    "space/schema": SpaceConfig,
    "sweep/schema": StudyConfig,
    "model/schema": ModelConfig,
    "data/recall_schema": RecallConfig,
    "data/mqar_schema": MQARConfig,
    "data/needle_schema": NeedleConfig,
    "data/state_tracking_schema": StateTrackingConfig,
    "data/text_schema": TextConfig,
    "relaxation/schema": RelaxationConfig,
    "searcher/gradient_schema": SearcherConfig,
    "searcher/random_schema": RandomConfig,
    "searcher/evolution_schema": EvolutionConfig,
    "searcher/optuna_schema": OptunaConfig,
    "budget/schema": BudgetConfig,
    "trainer/schema": TrainerConfig,
}


def register() -> None:
    """Tell Hydra the schemas that the files in `conf/` name in their defaults, and what `--help` has to list."""
    store = ConfigStore.instance()
    for path, schema in SCHEMAS.items():
        group, _, name = path.rpartition("/")
        store.store(name=name, node=schema, group=group or None)
    OmegaConf.register_new_resolver("choices", choices, replace=True)


def choices(group: str) -> str:
    """The files of a group in `conf/`, and in the folders of plugins."""
    return ", ".join(sorted({file.stem for folder in FOLDERS for file in (folder / group).glob("*.yaml")}))


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts to one dict with dotted keys."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return found


def restore(command: str, values: dict[str, Any]) -> RunConfig:
    """The config of a command from plain values, as ``dataclasses.asdict`` makes them of one; ValueError if not so."""
    schema = OmegaConf.structured(SCHEMAS[f"{command}_schema"])
    try:
        for group in ("data", "searcher"):  # each choice has options of its own
            if any(own.name == group for own in fields(SCHEMAS[f"{command}_schema"])):
                schema[group] = OmegaConf.structured(SCHEMAS[f"{group}/{values[group]['name']}_schema"])
        if "space" in values and (own_space := SCHEMAS.get(f"space/{values['space']['name']}_schema")):
            schema["space"] = OmegaConf.structured(own_space)
        config: RunConfig = OmegaConf.to_object(OmegaConf.merge(schema, values))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise ValueError(explain(error)) from error
    except (KeyError, TypeError) as error:
        raise ValueError("data.name or searcher.name is missing or unknown.") from error
    return config
