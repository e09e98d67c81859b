"""Small models with random weights, and the same models for transformers."""

import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.exporting import remote_code
from nas.models.language_model import LanguageModel
from nas.search_spaces.architecture import Architecture, Layer
from tests.nas.pretrained.written import architecture_of, write_config

VOCAB = 31
LAYERS = (
    Layer("token_hybrid", 4),
    Layer("softmax", 4),
    Layer("linear", 4),
    Layer("window", 4),
    Layer("token_hybrid", 6, 20),
)


def own_architecture(**changed: Any) -> Architecture:
    """All operations of this project's own models, at two chunk sizes."""
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "width": 24,
        "layers": LAYERS,
        "linear_heads": 2,
        "key_dim": 8,
        "value_dim": 12,
        "softmax_heads": 4,
        "routing_heads": 2,
        "mlp_width": 16,
        "window": 5,
    }
    return Architecture(**sizes | changed)


def pretrained_architecture(folder: Path, *mixers: str, **fields: Any) -> Architecture:
    """The architecture of a small pretrained model with these mixers."""
    own = write_config(folder, num_hidden_layers=len(mixers), vocab_size=VOCAB, **fields)
    return architecture_of(own, *mixers, window=5)


def model_of(a: Architecture) -> LanguageModel:
    """A model with random weights whose routers keep some chunks and drop others."""
    torch.manual_seed(1)
    model = LanguageModel(a).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
        for name, weight in model.named_parameters():
            if name.endswith("router.score.bias"):
                weight.zero_()
    return model


def written_module(folder: Path) -> ModuleType:
    """The modelling file, imported."""
    path = folder / "modeling_nas_hybrid.py"
    path.write_text(remote_code.code())
    spec = spec_from_file_location(f"modeling_{abs(hash(str(folder)))}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def same_in(module: ModuleType, model: LanguageModel) -> Any:
    """The same model as one of transformers."""
    made = module.HybridForCausalLM(module.HybridConfig(architecture=model.architecture.to_dict())).eval()
    made.load_state_dict(model.state_dict())
    return made


def padded(prompts: Sequence[Tensor]) -> dict[str, Tensor]:
    """Prompts of different lengths as a batch with padding before them."""
    longest = max(map(len, prompts))
    ids = [F.pad(prompt, (longest - len(prompt), 0)) for prompt in prompts]
    mask = [F.pad(torch.ones_like(prompt), (longest - len(prompt), 0)) for prompt in prompts]
    return {"input_ids": torch.stack(ids), "attention_mask": torch.stack(mask)}
