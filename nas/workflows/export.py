"""An export of a finished run: a folder that the library `transformers` loads."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from nas.config import ExportConfig
from nas.console import say
from nas.data.shards.folder import TOKENIZER
from nas.errors import UserError
from nas.exporting import remote_code, stock
from nas.exporting.card import Exported, card_of
from nas.exporting.folder import CARD, CODE, CONFIG, GENERATION, WEIGHTS, check_folder, write_folder
from nas.exporting.tokenizer import NoTokenizer, fits_family, special_tokens, tokenizer_files
from nas.pretrained.stock import NotStock, family_of
from nas.results.opened import OpenedRun, command_of, open_trained
from nas.search_spaces.architecture import Architecture

END = "eos_token_id"
AUTO, REMOTE_CODE, STOCK = FORMATS = ("auto", "remote_code", "stock")


def export(config: ExportConfig, console: Console) -> int:
    """Run the command and return its exit status."""
    assert config.run is not None
    assert config.to is not None
    if config.format not in FORMATS:
        raise UserError(f"format={config.format} is unknown; choose one of: {', '.join(FORMATS)}.")
    command_of("run", config.run)
    to = Path(config.to).expanduser()
    check_folder(to, Path(config.run), config.overwrite)
    opened = open_trained("run", config.run, "cpu")
    if opened.metrics is None or not opened.metrics.finished:
        raise UserError(f"run={config.run} is not finished; finish it first, with resume={config.run}.")
    a = _architecture(opened)
    tokenizer, missing = _tokenizer(opened, a)
    family = _family(config, a, tokenizer.get(TOKENIZER))
    if family is None:
        remote_code.check_architecture(config.run, a)
    exported = Exported(to.absolute().name, family, missing)
    write_folder(to, lambda folder: _fill(folder, opened, a, exported, tokenizer))
    of = f"a model of the family {family}" if family else f"with its code in {CODE}, trust_remote_code=True"
    say(console, f"{to}: AutoModelForCausalLM.from_pretrained loads it, {of}. The model card is {to / CARD}.")
    return 0


def _architecture(opened: OpenedRun) -> Architecture:
    """Return the architecture of the model: routed layers are their first operation if routing never began."""
    a = opened.trained.architecture
    if opened.routes or not a.routed_layers:
        return a
    return a.with_layers([layer._replace(mixer=layer.operations[0]) for layer in a.layers])


def _source(opened: OpenedRun) -> Path | None:
    """Return the folder of the pretrained model that a run started from."""
    path = opened.config.model.path
    return None if path is None else Path(path)


def _tokenizer(opened: OpenedRun, a: Architecture) -> tuple[dict[str, str], str]:
    """Return the files of the tokenizer by name, and a sentence for the model card if there are none."""
    try:
        return tokenizer_files(opened.task, a.vocab_size, _source(opened)), ""
    except NoTokenizer as error:
        return {}, f"{error} The model reads and writes token ids."


def _family(config: ExportConfig, a: Architecture, tokenizer: str | None) -> str | None:
    """Return the stock family to export to, for a model with this tokenizer.json; None for a folder with code."""
    if config.format == REMOTE_CODE:
        return None
    try:
        family = family_of(a)
        if tokenizer is not None and not fits_family(tokenizer, family):
            raise NotStock(f"AutoTokenizer reads tokenizers of {family} as that of Qwen2, which splits text otherwise")
        return family
    except NotStock as error:
        if config.format == AUTO:
            return None
        raise UserError(
            f"run={config.run} cannot be exported with format=stock, since no family of transformers has this model: "
            f"{error}; give format=remote_code."
        ) from error


def _fill(folder: Path, opened: OpenedRun, a: Architecture, exported: Exported, tokenizer: dict[str, str]) -> None:
    """Write all files of an export into an empty folder."""
    ends, source = special_tokens(opened.task, a.vocab_size), _source(opened)
    if exported.family is None:
        context = opened.config.data.length if a.backbone is None else a.backbone.context
        own = remote_code.config_of(a, context)
        (folder / CODE).write_text(remote_code.code(), encoding="utf-8")
    else:
        own = stock.config_of(a)
    _write_json(folder / CONFIG, {**own, "dtype": "float32", **with_ends(_special_tokens(source), ends)})
    _write_json(folder / GENERATION, with_ends(_generation(source), ends))
    save_file(_weights(opened, a, exported.family), folder / WEIGHTS, metadata={"format": "pt"})
    for file, text in tokenizer.items():
        (folder / file).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(card_of(opened, a, exported), encoding="utf-8")


def _weights(opened: OpenedRun, a: Architecture, family: str | None) -> dict[str, Tensor]:
    """Return the weights of an export by name, a tied weight once."""
    weights = {name: weight.detach() for name, weight in opened.trained.named_parameters()}
    if family is not None:
        return stock.weights_of(a, weights)
    routed = ("router", "branch_score", "linear_norm", "decay", "write", "log_decay_rate", "decay_bias")
    unused = {
        f"blocks.{index}.mixer.{part}"
        for index in opened.trained.architecture.routed_layers
        if not a.layers[index].routed
        for part in routed
    }
    return {name: weight for name, weight in weights.items() if ".".join(name.split(".")[:4]) not in unused}


def _special_tokens(source: Path | None) -> dict[str, Any]:
    """Return the ids of special tokens in the config.json of a pretrained model."""
    given = _read_json(source, CONFIG)
    return {name: given[name] for name in stock.SPECIAL_TOKENS if given.get(name) is not None}


def _generation(source: Path | None) -> dict[str, Any]:
    """Return the generation_config.json of a pretrained model, without its kind of cache."""
    given = _read_json(source, GENERATION) or _special_tokens(source)
    return {
        name: value for name, value in given.items() if name not in ("cache_implementation", "transformers_version")
    }


def with_ends(given: dict[str, Any], ends: dict[str, int]) -> dict[str, Any]:
    """Return fields of a pretrained model with the special tokens of the training beside its own.

    >>> with_ends({"eos_token_id": [5, 7], "pad_token_id": None}, {"eos_token_id": 1, "pad_token_id": 1})
    {'eos_token_id': [5, 7, 1], 'pad_token_id': 1}
    """
    made = {**ends, **{name: value for name, value in given.items() if value is not None}}
    of_model = made.get(END, [])
    own = of_model if isinstance(of_model, list) else [of_model]
    every = [*own, *(end for name, end in ends.items() if name == END and end not in own)]
    return {**made, END: every if len(every) > 1 else every[0]} if every else made


def _read_json(source: Path | None, name: str) -> dict[str, Any]:
    """Return the content of a JSON file in the folder of a pretrained model; empty if there is none."""
    try:
        given = {} if source is None else json.loads((source / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return given if isinstance(given, dict) else {}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
