"""Layers of flash-linear-attention: one clear error where they cannot run, and a search over them where they can."""

import pytest
import torch

from nas.budget.cost import flops_per_token, kv_bytes
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel, count_parameters
from nas.models.operations import find, fla
from nas.models.policies import learnt
from nas.search_spaces.operations import known
from tests.nas.architectures import small
from tests.nas.commands import SMALL, nas, refusal

LAYERS = ("fla:kda", "fla:gated_deltanet", "fla:mamba2")
SIZES = {"width": 64, "linear_heads": 2, "key_dim": 32, "value_dim": 32, "softmax_heads": 2, "chunk_size": 16}


def test_their_names_are_known_before_the_library_is_asked() -> None:
    assert known("fla:kda")
    assert not known("other:kda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_search_is_refused_in_one_line() -> None:
    told = refusal("search", "+space=layer_hybrid", *SMALL, "space.operations=[softmax,fla:kda]")
    assert "fla:kda needs a CUDA GPU, and none is available; choose other operations or use a GPU." in told


def test_without_the_library_it_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "fla.layers", None)
    with pytest.raises(ValueError, match=r"fla:kda needs flash-linear-attention.*nas-hybrid-attention\[fla\]"):
        fla.operation("kda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", LAYERS)
def test_gpu_a_prompt_and_steps_are_the_whole_sequence(name: str) -> None:
    pytest.importorskip("fla")
    model = LanguageModel(small(name, "softmax", **SIZES)).cuda().eval()
    tokens = torch.randint(11, (2, 96), device="cuda")
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        whole = model(tokens, learnt).logits
        decoder = Decoder(model, learnt)
        logits = [decoder.prefill(tokens[:, :80]), *(decoder.step(token) for token in tokens[:, 80:-1].unbind(1))]
    torch.testing.assert_close(torch.stack(logits, 1).float(), whole[:, 79:-1].float(), rtol=0.1, atol=0.1)
    alone = Decoder(model, learnt)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        alone.prefill(tokens[:1, :63])  # the page of the last chunk is there as a whole
    counted = kv_bytes(model.architecture, {}, 64)
    assert alone.bytes_in_use == pytest.approx(counted, rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("name", LAYERS)
def test_gpu_parameters_are_counted_from_the_layer(name: str) -> None:
    pytest.importorskip("fla")
    architecture = small(name, "linear", **SIZES)
    model = LanguageModel(architecture)
    embedding = architecture.vocab_size * architecture.width
    states = sum(find(layer.mixer).flops(architecture, 16, 0, False).base for layer in architecture.layers)
    assert flops_per_token(architecture, {}, 0) - states == 2 * (count_parameters(model) - embedding)


@pytest.mark.gpu
def test_gpu_a_search_chooses_between_them(tmp_path: object) -> None:
    pytest.importorskip("fla")
    sizes = ("model.width=64", "model.key_dim=32", "model.value_dim=32", "model.layers=2", "trainer.accelerator=gpu")
    options = ("space.operations=[softmax,linear,fla:kda]", f"output={tmp_path}")
    ended = nas("search", "+space=layer_hybrid", *SMALL, *sizes, *options)
    assert ended.status == 0, ended.err
    assert "Found: " in ended.out
