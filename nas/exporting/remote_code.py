"""The files of an export that brings its own code: config.json, and the modelling file."""

from typing import Any

from nas.errors import UserError
from nas.exporting.bundle import bundle
from nas.exporting.folder import CODE
from nas.runs import version
from nas.search_spaces.architecture import Architecture

MODULE = "nas.exporting.modelling"
OPERATIONS = ("softmax", "linear", "window")
"""Operations that the modelling file has."""
CLASSES = {"AutoConfig": "HybridConfig", "AutoModelForCausalLM": "HybridForCausalLM"}


def check_architecture(run: str, a: Architecture) -> None:
    """Raise a UserError if the modelling file cannot compute a model."""
    for index, layer in enumerate(a.layers):
        if others := [name for name in layer.operations if name not in OPERATIONS]:
            raise UserError(
                f"run={run} has the operation {others[0]} in layer {index}, whose code is not part of an export; "
                f"export a run of the operations {', '.join(OPERATIONS)}."
            )
        if layer.routed and layer.operations != OPERATIONS[:2]:
            raise UserError(
                f"run={run} routes between {' and '.join(layer.operations)} in layer {index}; export a run that routes "
                "between softmax and linear."
            )
    if a.given_routing is not None:
        raise UserError(
            f"run={run} has {a.given_routing} routing, which is for comparisons; export a run whose routers decide."
        )


def config_of(a: Architecture, context: int) -> dict[str, Any]:
    """Return the fields of config.json.

    Args:
        a: architecture of the model.
        context: tokens of a sequence in training, or for which the positions of a pretrained model are made.
    """
    return {
        "architectures": [CLASSES["AutoModelForCausalLM"]],
        "auto_map": {auto: f"{CODE.removesuffix('.py')}.{name}" for auto, name in CLASSES.items()},
        "model_type": "nas_hybrid",
        "architecture": a.to_dict(),
        "max_position_embeddings": context,
        "tie_word_embeddings": a.tie_embeddings,
    }


def code() -> str:
    """Return the text of the modelling file."""
    header = (
        "A language model whose layers mix tokens by softmax attention, Gated DeltaNet, a window, or a routed pair.\n\n"
        f"Written by nas.export of {version.text().splitlines()[0]}. The functions are copies of those of the toolkit, "
        "whose\nkernels are used where it is installed. Licence: Apache-2.0.\n"
    )
    return bundle(MODULE, header)
