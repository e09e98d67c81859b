"""The config of a command: registered with Hydra, and restored from plain values, as a run folder has them.

The options are the dataclasses in `nas.options` and `nas.search_spaces.config`. They are the schemas of the YAML files
in `conf/`, which hold the values. Each field has a description, which ``--help`` prints. A field of numbers has bounds.
`nas.cli.checks` checks them.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import explain
from nas.options.commands import (
    CommandConfig,
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    GenerateConfig,
    RunConfig,
    SearchConfig,
    StudyConfig,
    SweepConfig,
    TrainConfig,
    VisualizeConfig,
)
from nas.options.preparing import BPEConfig, PrepareConfig, TokenizerConfig
from nas.options.suites import SuitesConfig
from nas.options.tasks import (
    COLUMN,
    MAX_BYTES,
    DataConfig,
    IdentifiersConfig,
    MQARConfig,
    NeedleConfig,
    RecallConfig,
    RulerConfig,
    StateTrackingConfig,
    TextConfig,
    TokensConfig,
)
from nas.options.training import (
    AlignConfig,
    BudgetConfig,
    EvolutionConfig,
    HalvingConfig,
    HealConfig,
    OptunaConfig,
    RandomConfig,
    RelaxationConfig,
    RuleConfig,
    SearcherConfig,
    TrainerConfig,
)
from nas.search_spaces.config import ModelConfig, SpaceConfig

__all__ = [
    "COLUMN",
    "MAX_BYTES",
    "BudgetConfig",
    "CommandConfig",
    "CompareConfig",
    "DataConfig",
    "EvaluateConfig",
    "EvolutionConfig",
    "ExportConfig",
    "GenerateConfig",
    "HalvingConfig",
    "OptunaConfig",
    "PrepareConfig",
    "RandomConfig",
    "RecallConfig",
    "RuleConfig",
    "RunConfig",
    "SearchConfig",
    "SearcherConfig",
    "StudyConfig",
    "SweepConfig",
    "TextConfig",
    "TrainConfig",
    "TrainerConfig",
    "VisualizeConfig",
]
"""Options that are imported from here too, above all by plugins."""
CONF = Path(__file__).parent / "conf"
"""Folder of the YAML files. Hydra gets this path, since another module on Python's path may be named conf."""
FOLDERS = [CONF]
"""All folders of YAML files: the folder of nas first, then the folders that `nas.plugins` adds."""
SEARCH = "sweep.search"
"""Option of a sweep with the command line of its searches."""
REFERENCE = re.compile(r"\$\{[\w.]+\}")
"""Matches a reference to another option, such as ${trainer.learning_rate}, but no resolver such as ${oc.env:HOME}."""
RENAMED = {"budget.start": {"dearest": "most_expensive"}}
"""Values of options that had another name in an earlier version: the name of now by the earlier one, by option."""

SCHEMAS: dict[str, type] = {
    "search_schema": SearchConfig,
    "sweep_schema": SweepConfig,
    "train_schema": TrainConfig,
    "compare_schema": CompareConfig,
    "visualize_schema": VisualizeConfig,
    "generate_schema": GenerateConfig,
    "evaluate_schema": EvaluateConfig,
    "export_schema": ExportConfig,
    "prepare_schema": PrepareConfig,
    "suites/schema": SuitesConfig,
    "space/schema": SpaceConfig,
    "sweep/schema": StudyConfig,
    "model/schema": ModelConfig,
    "data/recall_schema": RecallConfig,
    "data/mqar_schema": MQARConfig,
    "data/needle_schema": NeedleConfig,
    "data/ruler_schema": RulerConfig,
    "data/identifiers_schema": IdentifiersConfig,
    "data/state_tracking_schema": StateTrackingConfig,
    "data/text_schema": TextConfig,
    "data/tokens_schema": TokensConfig,
    "relaxation/schema": RelaxationConfig,
    "align/schema": AlignConfig,
    "heal/schema": HealConfig,
    "searcher/gradient_schema": SearcherConfig,
    "searcher/random_schema": RandomConfig,
    "searcher/evolution_schema": EvolutionConfig,
    "searcher/optuna_schema": OptunaConfig,
    "searcher/halving_schema": HalvingConfig,
    "searcher/rule_schema": RuleConfig,
    "budget/schema": BudgetConfig,
    "trainer/schema": TrainerConfig,
    "tokenizer/bpe_schema": BPEConfig,
    "tokenizer/bytes_schema": TokenizerConfig,
}


@functools.cache
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
            if own.name not in found and own.default_factory is not dataclasses.MISSING:
                found[own.name] = dataclasses.asdict(own.type())
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
        raise ValueError(explain(error, choices)) from error
    except (KeyError, TypeError) as error:
        raise ValueError("data.name or searcher.name is missing or unknown.") from error
    return config


def _without_references(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values without `SEARCH`, whose references OmegaConf would resolve."""
    if not isinstance(values.get("sweep"), dict):
        return values
    return values | {"sweep": {name: value for name, value in values["sweep"].items() if name != "search"}}
