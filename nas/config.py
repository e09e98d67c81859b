"""Types of all options: dataclasses, registered with Hydra as the schemas of the YAML files in `conf/`.

The YAML files hold the values. A field made by `option` has bounds, which `nas.cli.checks` checks.
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
"""Folder of the YAML files. Hydra gets this path, since another module on Python's path may be named conf."""
FOLDERS = [CONF]
"""All folders of YAML files: the folder of nas first, then the folders that `nas.plugins` adds."""

COLUMN = "text"
"""Default column that is read from JSON Lines and Parquet."""
MAX_BYTES = 512 * 2**20
"""Default limit on the size of a text, in bytes: all of it is held in memory."""


@dataclass
class DataConfig:
    """Options of every task.

    length: tokens of a training sequence; batch_size: sequences in a training step, over all processes;
    validation_batches: batches of a validation; length_factors: sequence lengths of the final evaluation, as multiples
    of the training length; must contain 1.
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

    path: file or folder, null for Python's standard library; min_length: shortest training sequence in tokens, null for
    a short one with room for needle and question; value_length: tokens of the value, null for the length in RULER;
    column, max_bytes: see `TextConfig`.
    """

    form: str = MISSING
    path: str | None = None
    min_length: int | None = None
    value_length: int | None = option(at_least=1, default=None)
    column: str = COLUMN
    max_bytes: int = option(at_least=1, default=MAX_BYTES)


@dataclass
class StateTrackingConfig(DataConfig):
    """Running sums; see `nas.data.state_tracking.StateTracking`."""

    problem: str = MISSING
    modulus: int = option(at_least=2)
    min_length: int = option(at_least=1)


@dataclass
class TextConfig(DataConfig):
    """Bytes of a text; see `nas.data.text.Text`.

    path: file or folder, null for Python's standard library; column: column with the text, in .jsonl and .parquet;
    max_bytes: largest size of the text, which is held in memory.
    """

    path: str | None = None
    column: str = COLUMN
    max_bytes: int = option(at_least=1, default=MAX_BYTES)


@dataclass
class RelaxationConfig:
    """How the logits of routers and of layers become weights.

    name: a relaxation of `nas.relaxations`; router: relaxation of routers, null for the same; pairs: whether only two
    options of each layer are computed and compete in a step; temperature_start, temperature_end: temperature at the
    first and at the last step.
    """

    name: str = MISSING
    router: str | None = None
    pairs: bool = False
    temperature_start: float = option(above=0)
    temperature_end: float = option(above=0)


@dataclass
class SearcherConfig:
    """The searcher, which selects the architecture, and its options; see `nas.searchers`."""

    name: str = MISSING


@dataclass
class RandomConfig(SearcherConfig):
    """Options of every searcher that scores candidates with the shared weights.

    evaluations: largest number of different architectures to score; batches: batches that each is scored on.
    """

    evaluations: int = option(at_least=1)
    batches: int = option(at_least=1)


@dataclass
class EvolutionConfig(RandomConfig):
    """Regularised evolution. population: number of members; sample: members that compete to be the next parent."""

    population: int = option(at_least=1)
    sample: int = option(at_least=1)


@dataclass
class OptunaConfig(RandomConfig):
    """Optuna over architectures. sampler: name of an Optuna sampler; sampler_options: arguments of the sampler."""

    sampler: str = MISSING
    sampler_options: dict[str, Any] = field(default_factory=dict)


@dataclass
class BudgetConfig:
    """The allowed cost and how it is enforced; see `nas.budget.controller.Budget`.

    resource: softmax_share, kv_bytes or flops; context: tokens of the sequence for kv_bytes and flops; target: allowed
    cost, in the resource's unit; exact: whether the cost must equal the target, not only stay below it; start: dearest,
    both or cheapest, the cost from which training moves to the target.
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
    """Length of training, optimiser (AdamW with warm-up and cosine decay) and devices.

    strategy: ddp, fsdp or "auto"; see `nas.distributed.strategies`. devices: number of devices of each machine, or a
    list of them; num_nodes: number of machines. "auto" is the number of processes that torchrun or srun started, and
    one device without them. architecture_learning_rate: learning rate of the architecture logits; bilevel: whether
    routers and architecture logits learn from held-out batches, in alternation with the weights; cuda_graphs: true,
    false or "auto", see `nas.training.cuda_graphs.wanted`.
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
    """Options of every training command. plugins: modules, or paths of .py files, that register plugins."""

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
    """Options of `python -m nas.search`."""

    space: SpaceConfig = MISSING
    searcher: SearcherConfig = MISSING


@dataclass
class StudyConfig:
    """The study of a sweep: ranges of the options, sampler, objectives and workers.

    trials: number of searches, over all workers; workers: processes that this command starts; objectives: names of
    `nas.sweeps.objectives`; context: context length of the costs, in tokens; ranges: see `nas.sweeps.ranges`; sampler,
    pruner: names of Optuna's classes, or "auto" and "none" for the pruner; prune_every: training steps between two
    decisions to prune; storage: null for SQLite in the sweep's folder, a database URL, or journal:FILE; study: name of
    the study in the storage, common to all workers; heartbeat: seconds between two heartbeats of a running trial;
    grace: seconds without a heartbeat after which a trial counts as killed; retries: how often a killed trial is run
    again; search: given options of the search, set by the command.
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
    """Options of `python -m nas.sweep`: the options of its searches, and the study."""

    sweep: StudyConfig = MISSING


@dataclass
class TrainConfig(RunConfig):
    """Options of `python -m nas.train`.

    architecture: name of a baseline (`nas.search_spaces.baselines`), the mixer of each layer as in linear-softmax, or
    the path of the architecture.json of a run.
    """

    architecture: str = MISSING


@dataclass
class CompareConfig(RunConfig):
    """Options of `python -m nas.compare`.

    runs: folders of finished runs; baselines: see `nas.search_spaces.baselines`; seeds: trainings of each contender;
    learning_rates: grid from which each contender gets its own; tuning_seeds: trainings of each contender at each
    learning rate; workers: trainings at a time, or "auto"; context: tokens at which prefill and generation are timed;
    timing: whether they are timed.
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
    """Options of `python -m nas.visualize`.

    run: folder of a run, a sweep or a comparison; compare: folder of a run to show beside it; text: file whose routing
    is shown; prompt: text whose routing is shown; tokens: largest number of tokens of the file or prompt to show;
    output: path of the page, null for report.html in the run's folder, or for report-NAME.html there with text, prompt
    or compare; plugins: as in `RunConfig`.
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
    """Register with Hydra the schemas of the files in `conf/`, and the resolver that lists choices in `--help`."""
    store = ConfigStore.instance()
    for path, schema in SCHEMAS.items():
        group, _, name = path.rpartition("/")
        store.store(name=name, node=schema, group=group or None)
    OmegaConf.register_new_resolver("choices", choices, replace=True)


def choices(group: str) -> str:
    """Return the choices of a group, from the YAML files of nas and of plugins, as text."""
    return ", ".join(sorted({file.stem for folder in FOLDERS for file in (folder / group).glob("*.yaml")}))


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one dict with dotted keys."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return found


def interpolated(values: dict[str, Any]) -> str | None:
    """Return the first option, as name=value, whose text would be read as an interpolation; None if there is none."""
    for name, value in flat(values).items():
        if any("${" in str(text) for text in (value if isinstance(value, list) else [value])):
            return f"{name}={value}"
    return None


def restore(command: str, values: dict[str, Any]) -> RunConfig:
    """Return the config of a command from plain values, as made by ``dataclasses.asdict``.

    Raises:
        ValueError: the values are not those of such a config.
    """
    if found := interpolated(values):
        raise ValueError(f"{found} contains ${{, but a stored config has plain values only.")
    schema = OmegaConf.structured(SCHEMAS[f"{command}_schema"])
    try:
        for group in ("data", "searcher"):  # each choice has its own options
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
