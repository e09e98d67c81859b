"""Types of all options: dataclasses, registered with Hydra as the schemas of the YAML files in `conf/`.

The YAML files hold the values. Each field has a description, which ``--help`` prints. A field of numbers has bounds.
`nas.cli.checks` checks them.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
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
SEARCH = "sweep.search"
"""Option of a sweep with the command line of its searches."""
REFERENCE = re.compile(r"\$\{[\w.]+\}")
"""Matches a reference to another option, such as ${trainer.learning_rate}, but no resolver such as ${oc.env:HOME}."""
RENAMED = {"budget.start": {"dearest": "most_expensive"}}
"""Values of options that had another name in an earlier version: the name of now by the earlier one, by option."""
MAX_BYTES = 512 * 2**20
"""Default limit on the size of a text, in bytes: all of it is held in memory."""


@dataclass
class DataConfig:
    """Options of every task."""

    name: str = option("task, which `data=` selects")
    length: int = option("tokens of a training sequence, or of the longest ones", at_least=1, ceiling=10**9)
    batch_size: int = option("sequences in a training step, over all processes", at_least=1, ceiling=10**7)
    validation_batches: int = option("batches of a validation", at_least=1, ceiling=10**6)
    length_factors: list[int] = option(
        "sequence lengths of the final evaluation, as multiples of data.length; one of them must be 1",
        at_least=1,
        ceiling=10**6,
    )


@dataclass
class ReadingConfig(DataConfig):
    """Options of a task that reads a text; see `nas.data.corpus`."""

    path: str | None = option("file or folder of the text; null: Python's standard library", default=None)
    column: str = option("column with the text, in .jsonl and .parquet", default=COLUMN)
    max_bytes: int = option(
        "largest size of the text in bytes, since all of it is held in memory",
        default=MAX_BYTES,
        at_least=1,
        ceiling=2**50,
    )


@dataclass
class RecallConfig(DataConfig):
    """Planted multi-query associative recall; see `nas.data.recall.Recall`."""

    keys: int = option("number of different keys", at_least=1, ceiling=10**8)
    values: int = option("number of different values", at_least=1, ceiling=10**8)
    noise: int = option("number of different noise tokens", at_least=1, ceiling=10**8)
    min_length: int = option("tokens of the shortest training sequences", at_least=1, ceiling=10**9)
    pairs: int = option("largest number of key-value pairs in a sequence", at_least=1, ceiling=10**8)
    min_pairs: int = option("smallest number of key-value pairs in a sequence", at_least=1, ceiling=10**8)
    block_size: int = option("tokens of a block of planted pairs", at_least=1, ceiling=10**9)
    block_margin: int = option(
        "tokens of noise at the end of a block, into which short convolutions carry pairs", at_least=0, ceiling=10**9
    )
    queries: int = option("queried keys at the end of a sequence", at_least=1, ceiling=10**8)


@dataclass
class MQARConfig(DataConfig):
    """Multi-query associative recall of Zoology; see `nas.data.mqar.MQAR`."""

    vocab_size: int = option("number of different tokens", at_least=1, ceiling=10**8)
    pairs: int = option("key-value pairs of the hardest sequences", at_least=1, ceiling=10**8)
    settings: list[list[int]] = option(
        "training batches as [length, pairs, weight], in which weights are relative frequencies",
        at_least=0,
        ceiling=10**9,
    )
    power_a: float = option("exponent of the power law of distances; 1 is uniform", above=0, at_most=1)
    random_non_queries: bool = option("whether positions without pairs and queries hold random tokens")


@dataclass
class NeedleConfig(ReadingConfig):
    """A needle in a haystack, after RULER; see `nas.data.needle.Needle`."""

    form: str = option("haystack: noise, text (prose), or digits (prose, and a value of 32 hexadecimal digits)")
    min_length: int | None = option(
        "tokens of the shortest training sequences; null: a short one with room for needle and question",
        default=None,
        at_least=1,
        ceiling=10**9,
    )
    value_length: int | None = option(
        "tokens of the value; null: 7 as in RULER, or 32 with form=digits", default=None, at_least=1, ceiling=10**6
    )


@dataclass
class StateTrackingConfig(DataConfig):
    """Running sums; see `nas.data.state_tracking.StateTracking`."""

    problem: str = option("parity, or modular: sums modulo data.modulus")
    modulus: int = option("number of states of problem=modular", at_least=2, ceiling=10**8)
    min_length: int = option("tokens of the shortest training sequences", at_least=1, ceiling=10**9)


@dataclass
class TextConfig(ReadingConfig):
    """Bytes of a text; see `nas.data.text.Text`."""


@dataclass
class RelaxationConfig:
    """How the logits of routers and of layers become weights."""

    name: str = option("argmax_ste, gumbel, darts, gdas, drnas or uniform, see `nas.relaxations`")
    router: str | None = option("relaxation of routers; null: the same", default=None)
    pairs: bool = option("whether only two options of each layer are computed and compete in a step", default=False)
    temperature_start: float = option("temperature at the first step", above=0, ceiling=1e6)
    temperature_end: float = option("temperature at the last step", above=0, ceiling=1e6)


@dataclass
class SearcherConfig:
    """The searcher, which selects the architecture; see `nas.searchers`."""

    name: str = option("searcher, which `searcher=` selects")


@dataclass
class RandomConfig(SearcherConfig):
    """Options of every searcher that scores candidates with the shared weights."""

    evaluations: int = option("architectures to score; a smaller space is scored completely", at_least=1, ceiling=10**7)
    batches: int = option("batches that each architecture is scored on", at_least=1, ceiling=10**6)


@dataclass
class EvolutionConfig(RandomConfig):
    """Regularised evolution."""

    population: int = option("members of the population; the first are random", at_least=1, ceiling=10**6)
    sample: int = option("members that compete to be the next parent", at_least=1, ceiling=10**6)


@dataclass
class OptunaConfig(RandomConfig):
    """Optuna over architectures."""

    sampler: str = option("sampler of Optuna, such as TPE, Random, NSGAII or GP")
    sampler_options: dict[str, Any] = option("arguments of the sampler", default_factory=dict)


@dataclass
class BudgetConfig:
    """The allowed cost and how it is enforced; see `nas.budget.controller.Budget`."""

    resource: str = option("limited cost: softmax_share, kv_bytes or flops")
    context: int = option("tokens of the sequence for kv_bytes and flops", at_least=1, ceiling=10**12)
    target: float = option("allowed cost, in the unit of the resource", at_least=0, ceiling=1e24)
    exact: bool = option("whether the cost must equal the target, not only stay below it")
    start: str = option("architecture of the dense phase: most_expensive (all softmax), both, or cheapest (all linear)")
    learnt_at: float = option("fraction of the initial loss at which routing begins", at_least=0, at_most=1)
    dense_until: float = option("fraction of training after which routing begins in any case", at_least=0, at_most=1)
    tighten_over: float = option(
        "fraction of training over which the allowed cost moves to the target", at_least=0, at_most=1
    )
    rate: float = option("integral gain of the multiplier", at_least=0, ceiling=1e3)
    gain: float = option("proportional gain of the multiplier", at_least=0, ceiling=1e3)
    price: float = option(
        "minimum multiplier until settle_from, which drops chunks that do not lower the loss; ignored if exact",
        at_least=0,
        ceiling=1e3,
    )
    settle_from: float = option("fraction of training after which the minimum multiplier is 0", at_least=0, at_most=1)
    max_multiplier: float = option("maximum multiplier", at_least=0, ceiling=1e3)


@dataclass
class TrainerConfig:
    """Length of training, optimiser (AdamW with warm-up and cosine decay) and devices."""

    steps: int = option("training steps", at_least=1, ceiling=10**9)
    learning_rate: float = option("peak learning rate of the weights", above=0, ceiling=10)
    router_learning_rate: float = option("peak learning rate of the routers", at_least=0, ceiling=10)
    architecture_learning_rate: float = option("peak learning rate of the architecture logits", at_least=0, ceiling=10)
    bilevel: bool = option(
        "whether routers and architecture logits learn from held-out batches, in alternation with the weights"
    )
    router_eps: float = option("epsilon of AdamW for the routers", above=0, ceiling=1)
    final_learning_rate: float = option("last learning rate, as a fraction of the peak", at_least=0, at_most=1)
    warmup_steps: int = option(
        "steps in which the learning rate rises; at most trainer.steps", at_least=0, ceiling=10**9
    )
    weight_decay: float = option("weight decay of AdamW", at_least=0, ceiling=100)
    beta2: float = option("decay of AdamW's second moment", at_least=0, below=1)
    gradient_clip: float = option("largest norm of the gradient; 0: not clipped", at_least=0, ceiling=1e6)
    log_every: int = option("steps between two entries of the curves", at_least=1, ceiling=10**9)
    validate_every: int = option("steps between two validations", at_least=1, ceiling=10**9)
    checkpoint_every: int = option(
        "steps between two checkpoints; the last step saves one too", at_least=1, ceiling=10**9
    )
    accelerator: str = option("kind of device: auto, cpu, cuda or mps")
    strategy: str = option("auto, ddp or fsdp; auto: ddp if torchrun or srun started several processes")
    devices: Any = option(
        "devices of each machine, a number or a list; auto: one for each process", auto=True, at_least=-1, ceiling=10**4
    )
    num_nodes: Any = option("machines; auto: as started by torchrun or srun", auto=True, at_least=1, ceiling=10**6)
    precision: str = option("precision of Lightning; auto: bf16-mixed on a GPU, 32-true elsewhere")
    cuda_graphs: Any = option("true, false or auto: CUDA graphs for batches of at most 65536 tokens")


@dataclass
class RunConfig:
    """Options of every training command."""

    model: ModelConfig = option("sizes of the model")
    data: DataConfig = option("task")
    relaxation: RelaxationConfig = option("how logits become weights")
    budget: BudgetConfig = option("allowed cost")
    trainer: TrainerConfig = option("steps, optimiser and devices")
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
        "name of a baseline, the mixer of each layer as in linear-softmax, or architecture.json of a run"
    )


@dataclass
class CompareConfig(RunConfig):
    """Options of `python -m nas.compare`."""

    runs: list[str] = option("folders of finished runs; their options are the recipe")
    baselines: list[str] = option("names or patterns of layers, as for nas.train architecture=")
    seeds: int = option("trainings of each contender, with seeds from `seed` on", at_least=1, ceiling=10**4)
    learning_rates: list[float] = option(
        "grid from which each contender gets its best learning rate", above=0, ceiling=10
    )
    tuning_seeds: int = option("trainings of each contender at each learning rate", at_least=1, ceiling=10**4)
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


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dict with dotted keys as nested dicts, the inverse of `flat`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *groups, last = key.split(".")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return found


def interpolated(values: dict[str, Any]) -> str | None:
    """Return the first option, as name=value, whose text would be read as an interpolation; None if there is none.

    The command line in `SEARCH` may refer to other options: each search resolves the reference for its own values.
    """
    for name, value in flat(values).items():
        texts = map(str, value if isinstance(value, list) else [value])
        if any("${" in (REFERENCE.sub("", text) if name == SEARCH else text) for text in texts):
            return f"{name}={value}"
    return None


def renamed(option: str, value: Any) -> Any:
    """Return the name of now for a value of an option that an earlier version named otherwise; else the same value."""
    return RENAMED.get(option, {}).get(value, value) if isinstance(value, str) else value


def current(command: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return stored values of a config, perhaps of an earlier version, in the form in which this version stores them.

    Options that did not exist have their default, if their field has one: without them the run did the same.

    Args:
        command: name of the command that stored them.
        values: plain values, as made by ``dataclasses.asdict``.
    """
    schema = SCHEMAS.get(f"{command}_schema")
    return values if schema is None else _current(schema, values, "")


def _current(schema: type, values: dict[str, Any], group: str) -> dict[str, Any]:
    """Return the values of a group of options; see `current`. ``group`` precedes the names of its options."""
    found = {name: renamed(f"{group}{name}", value) for name, value in values.items()}
    for own in fields(schema):
        value = found.get(own.name)
        if isinstance(own.type, type) and is_dataclass(own.type):
            if isinstance(value, dict):
                chosen = SCHEMAS.get(f"{own.name}/{value.get('name')}_schema", own.type)
                found[own.name] = _current(chosen, value, f"{group}{own.name}.")
        elif f"{group}{own.name}" == SEARCH and isinstance(value, list):
            found[own.name] = [_renamed_in(str(option)) for option in value]
        elif own.name not in found and (default := _default(own)) != MISSING:
            found[own.name] = default
    return found


def _default(own: "Field[Any]") -> Any:
    """Return the default of a dataclass field; `MISSING` if a YAML file must give its value."""
    if own.default_factory is not dataclasses.MISSING:
        return own.default_factory()
    return MISSING if own.default is dataclasses.MISSING else own.default


def _renamed_in(option: str) -> str:
    """Return an option of a command line with the name of now for its value."""
    name, equals, value = option.partition("=")
    return f"{name}{equals}{renamed(name.lstrip('+'), value)}"


def restore(command: str, values: dict[str, Any]) -> RunConfig:
    """Return the config of a command from plain values, as made by ``dataclasses.asdict``.

    The values may be those of an earlier version; see `current`.

    Raises:
        ValueError: the values are not those of such a config.
    """
    values = current(command, values)
    if found := interpolated(values):
        raise ValueError(f"{found} contains ${{, but a stored config has plain values only.")
    schema = OmegaConf.structured(SCHEMAS[f"{command}_schema"])
    try:
        for group in ("data", "searcher"):  # each choice has its own options
            if any(own.name == group for own in fields(SCHEMAS[f"{command}_schema"])):
                schema[group] = OmegaConf.structured(SCHEMAS[f"{group}/{values[group]['name']}_schema"])
        if "space" in values and (own_space := SCHEMAS.get(f"space/{values['space']['name']}_schema")):
            schema["space"] = OmegaConf.structured(own_space)
        config: RunConfig = OmegaConf.to_object(OmegaConf.merge(schema, _without_references(values)))  # type: ignore[assignment]
        if isinstance(config, SweepConfig):
            config.sweep.search = [str(option) for option in values["sweep"].get("search", [])]
    except OmegaConfBaseException as error:
        raise ValueError(explain(error)) from error
    except (KeyError, TypeError) as error:
        raise ValueError("data.name or searcher.name is missing or unknown.") from error
    return config


def _without_references(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values without `SEARCH`, whose references OmegaConf would resolve."""
    if not isinstance(values.get("sweep"), dict):
        return values
    return values | {"sweep": {name: value for name, value in values["sweep"].items() if name != "search"}}
