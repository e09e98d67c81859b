"""Stock families of `transformers`: which of them has the layers of a model, and the searches that keep to them."""

from nas import search_spaces
from nas.pretrained.description import FULL, SLIDING
from nas.pretrained.families import FAMILIES
from nas.search_spaces import backbone
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.backbone import Backbone
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.space import Space

WITH_WINDOWS = {"llama": "smollm3", "olmo2": "olmo3"}
"""Family that has the blocks of another, and sliding layers besides.

Qwen2 has those of Llama too, but `AutoTokenizer` replaces the tokenizers of its models by that of Qwen2.
"""
TYPES = {backbone.FULL: FULL, backbone.SLIDING: SLIDING}


class NotStock(Exception):
    """No family of `transformers` has the layers of a model; the message says which layers, and why."""


def family_of(a: Architecture) -> str:
    """Return the family that has the layers of a model.

    Raises:
        NotStock: there is none.
    """
    b = a.backbone
    if b is None:
        raise NotStock("its blocks have short convolutions and output gates; only runs with model=pretrained can be")
    if others := [f"{index} ({mixer})" for index, mixer in enumerate(a.mixers) if mixer not in TYPES]:
        raise NotStock(f"it has softmax and window layers only, and the model has layers {', '.join(others)}")
    if any(layer.mlp_width not in (None, a.mlp_width) for layer in a.layers):
        raise NotStock("its layers have one width of the MLP, and those of the model differ")
    family = b.family if backbone.SLIDING not in a.mixers else WITH_WINDOWS.get(b.family, b.family)
    _check_ropes(a, b, family)
    return family


def _check_ropes(a: Architecture, b: Backbone, family: str) -> None:
    """Raise NotStock if layers of one type differ in their positions."""
    first = dict(reversed(list(zip(a.mixers, b.ropes, strict=True))))
    by_type = FAMILIES[family].rope_bases[0] != FAMILIES[family].rope_bases[1] or not FAMILIES[family].scales_sliding
    for index, (kind, rope) in enumerate(zip(a.mixers, b.ropes, strict=True)):
        expected = first[kind] if by_type else b.ropes[0]
        if rope != expected or (by_type and kind == backbone.SLIDING and rope.scaling != "default"):
            raise NotStock(f"layer {index} ({kind}) has the rotary positions of another type of layer")


def build_space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Return the space of a config; with ``model.stock`` only with layers that a family of `transformers` has.

    Raises:
        ValueError: the space is unknown, or its options do not fit; the message names the option.
    """
    space = search_spaces.build(config, model, vocab_size)
    return _with_stock_layers(space) if model.stock else space


def _with_stock_layers(space: Space) -> Space:
    """Return a space with those options of each layer that a family has beside the original other layers.

    The original layer stays in a layer without any such option.
    """
    structure = space.sizes.backbone
    if structure is None:
        raise ValueError("model.stock=true is for models that start from a pretrained one; give model=pretrained.")
    original = [Layer(mixer, own[0].chunk_size) for mixer, own in zip(structure.mixers, space.options, strict=True)]
    options = []
    for index, own in enumerate(space.options):
        beside = (original[:index], original[index + 1 :])
        kept = [option for option in own if _is_stock(space.sizes.with_layers([*beside[0], option, *beside[1]]))]
        options.append(tuple(kept) or (original[index],))
    if all(len(own) == 1 for own in options):
        raise ValueError(
            "model.stock=true leaves no choice in any layer: families of transformers have softmax and window layers, "
            "and no sliding layer with the positions of a full one; give space.operations=[softmax,window] and a model "
            "whose layers have the same positions, or model.stock=false."
        )
    return Space(space.name, space.sizes, tuple(options))


def _is_stock(a: Architecture) -> bool:
    try:
        family_of(a)
    except NotStock:
        return False
    return True
