"""Loading the weights of a pretrained model into a model of this project."""

from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from nas.errors import UserError
from nas.models.language_model import Block, LanguageModel
from nas.models.operations.linear import LinearWeights
from nas.pretrained.families import FAMILIES, LM_HEAD, is_norm, names_of_weights
from nas.pretrained.folder import StoredWeights
from nas.search_spaces.architecture import Architecture

IGNORED = ("rotary_emb.inv_freq",)
"""Ends of the names of stored tensors that are not weights."""
EMBEDDING, HEAD = ("embedding.weight", "head.weight")
"""Names of the weights of which tied embeddings make one."""


class Loaded(NamedTuple):
    """Numbers of parameters of a model after `load_pretrained`.

    Attributes:
        loaded: those with weights of the folder.
        added: those of added operations and routers, which the folder does not have.
    """

    loaded: int
    added: int


@torch.no_grad()
def load_pretrained(model: LanguageModel, folder: Path) -> Loaded:
    """Load the weights of a folder into a new model whose architecture has the backbone of the folder.

    Added parameters keep their initial values, except norms of linear attention: its outputs begin with the size of the
    values.

    Raises:
        UserError: a weight is missing, has another shape, or is none of such a model. The model is then as before.
    """
    stored = StoredWeights(folder)
    names = stored_names(model.architecture)
    _check_names(folder, stored, names, model.architecture)
    own = dict(model.named_parameters())  # a tied weight once
    used = {name: weight for name, weight in own.items() if name in names}
    for name, weight in used.items():
        _check_shape(folder, stored, names[name], name, weight)
    _check_tied(folder, stored, names)
    backbone = model.architecture.backbone
    assert backbone is not None
    offset = FAMILIES[backbone.family].norm_offset
    for name, weight in used.items():
        parts = [stored.read(one).to(weight.dtype) for one in names[name]]
        value = parts[0] if len(parts) == 1 else torch.cat(parts)
        weight.copy_(value + offset if offset and is_norm(names[name][0]) else value)
    for block in model.blocks:
        _scale_linear_outputs(cast("Block", block))
    loaded = sum(weight.numel() for weight in used.values())
    return Loaded(loaded, sum(weight.numel() for weight in own.values()) - loaded)


def stored_names(a: Architecture) -> dict[str, tuple[str, ...]]:
    """Return the names under which the weights of a model are stored, by our names."""
    backbone = a.backbone
    assert backbone is not None
    return names_of_weights(
        len(a.layers), backbone.norms, backbone.qk_norm is not None, backbone.qkv_bias, backbone.out_bias,
        a.tie_embeddings,
    )  # fmt: skip


def _check_names(folder: Path, stored: StoredWeights, names: dict[str, tuple[str, ...]], a: Architecture) -> None:
    """Raise a UserError if stored weights are missing or are none of such a model."""
    expected = {one for parts in names.values() for one in parts}
    if missing := sorted(expected - stored.names):
        raise UserError(
            f"model.path={folder} lacks {missing[0]} ({len(missing)} of {len(expected)} weights are missing); copy the "
            "folder again, or give the config.json that belongs to the weights."
        )
    ignored = (*IGNORED, LM_HEAD) if a.tie_embeddings else IGNORED
    if other := sorted(name for name in stored.names - expected if not name.endswith(ignored)):
        family = FAMILIES[cast("str", a.backbone and a.backbone.family)].shown
        raise UserError(
            f"model.path={folder} has {other[0]}, which models of the family {family} with its config.json do not have "
            f"({len(other)} such weights); give the config.json that belongs to the weights."
        )


def _check_shape(folder: Path, stored: StoredWeights, parts: tuple[str, ...], name: str, weight: nn.Parameter) -> None:
    """Raise a UserError if stored weights do not form a weight of the model."""
    shapes = [stored.shape(part) for part in parts]
    rows = weight.shape[0] // len(parts)
    for part, shape in zip(parts, shapes, strict=True):
        if shape != (wanted := (rows, *weight.shape[1:])):
            raise UserError(
                f"model.path={folder} has {part} of shape {list(shape)}, but by its config.json it must be "
                f"{list(wanted)}; give the config.json that belongs to the weights."
            )


def _check_tied(folder: Path, stored: StoredWeights, names: dict[str, tuple[str, ...]]) -> None:
    """Raise a UserError if tied embeddings are stored with a head that differs; `transformers` does not tie these."""
    (embedding,) = names[EMBEDDING]
    if HEAD in names or LM_HEAD not in stored.names or stored.read(LM_HEAD).equal(stored.read(embedding)):
        return
    raise UserError(
        f"model.path={folder} has {LM_HEAD} that differs from {embedding}, but by its config.json both are one weight; "
        "set tie_word_embeddings to false in config.json, or give the config.json that belongs to the weights."
    )


def _scale_linear_outputs(block: Block) -> None:
    """Set the output norm of linear attention to the root mean square of the values of inputs of mean square 1."""
    mixer = block.mixer
    if not hasattr(mixer, "linear_norm"):
        return
    weight: Tensor = mixer.v.weight
    if isinstance(block.mixer_norm, nn.RMSNorm):
        weight = weight * block.mixer_norm.weight
    cast("LinearWeights", mixer).linear_norm.weight.fill_(weight.square().sum(1).mean().sqrt())
