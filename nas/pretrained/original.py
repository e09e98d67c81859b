"""The pretrained model that a search starts from, by itself."""

from pathlib import Path

from nas.models.language_model import LanguageModel
from nas.pretrained.weights import load_pretrained
from nas.search_spaces.architecture import Architecture, Layer


def original_architecture(sizes: Architecture) -> Architecture:
    """Return the architecture of the pretrained model, from any architecture that has its backbone."""
    assert sizes.backbone is not None
    layers = [Layer(mixer, layer.chunk_size) for mixer, layer in zip(sizes.backbone.mixers, sizes.layers, strict=True)]
    return sizes.with_layers(layers)


def load_original(sizes: Architecture, folder: str) -> LanguageModel:
    """Return the pretrained model of a folder, frozen and on the CPU.

    Args:
        sizes: an architecture with the backbone of the model.
        folder: folder with its weights.

    Raises:
        UserError: the folder is missing, or its weights are not those of such a model.
    """
    model = LanguageModel(original_architecture(sizes))
    load_pretrained(model, Path(folder))
    return model.requires_grad_(requires_grad=False)
