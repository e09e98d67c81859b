"""A language model whose layers mix tokens by softmax attention, Gated DeltaNet, a window, or a routed pair of both.

The model of a run of nas-hybrid-attention for the library `transformers`. Where that toolkit is installed, its kernels
compute the operations of whole sequences; otherwise the PyTorch functions in this file do.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from nas.exporting.mixers import Mixer, PretrainedMixer
from nas.exporting.states import LayerState
from nas.kernels.swiglu.reference import swiglu
from nas.models.layers import NORM_EPS, geglu
from nas.search_spaces.architecture import Architecture

GATED = {"silu": swiglu, "gelu_tanh": geglu}
"""Gated activations, by the name of the activation of the gate."""


class HybridConfig(PretrainedConfig):
    """The configuration of a `HybridForCausalLM`.

    Args:
        architecture: fields of an `Architecture`, as in the file architecture.json of a run.
    """

    model_type = "nas_hybrid"
    keys_to_ignore_at_inference = ("past_key_values",)

    def __init__(self, architecture: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.architecture = architecture
        if architecture is not None:
            a = Architecture.from_dict(architecture)
            self.vocab_size, self.hidden_size = a.vocab_size, a.width
            self.num_hidden_layers, self.num_attention_heads = len(a.layers), a.softmax_heads
            kwargs["tie_word_embeddings"] = a.tie_embeddings
        super().__init__(**kwargs)


class MLP(nn.Module):
    """Gated feed-forward layer."""

    def __init__(self, a: Architecture, hidden: int) -> None:
        super().__init__()
        self.activate = GATED["silu" if a.backbone is None else a.backbone.activation]
        self.gate_and_up = nn.Linear(a.width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, a.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.activate(self.gate_and_up(x)))
        return y


class Block(nn.Module):
    """Mixer and gated MLP with their norms, each around a residual connection."""

    def __init__(self, a: Architecture, index: int) -> None:
        super().__init__()
        layer, b = a.layers[index], a.backbone
        norms = "pre" if b is None else b.norms
        eps = NORM_EPS if b is None else b.norm_eps
        before, after = norms != "post", norms != "pre"
        self.mixer_norm = nn.RMSNorm(a.width, eps=eps) if before else nn.Identity()
        self.mixer = Mixer(a, layer) if b is None else PretrainedMixer(a, layer, index)
        self.mixer_post_norm = nn.RMSNorm(a.width, eps=eps) if after else nn.Identity()
        self.mlp_norm = nn.RMSNorm(a.width, eps=eps) if before else nn.Identity()
        self.mlp = MLP(a, layer.mlp_width or a.mlp_width)
        self.mlp_post_norm = nn.RMSNorm(a.width, eps=eps) if after else nn.Identity()

    def forward(self, x: Tensor, state: LayerState | None, start: Tensor) -> Tensor:
        x = x + self.mixer_post_norm(self.mixer(self.mixer_norm(x), state, start))
        y: Tensor = x + self.mlp_post_norm(self.mlp(self.mlp_norm(x)))
        return y


class Part(NamedTuple):
    """Sequences of a batch that begin in the same column.

    Attributes:
        rows: [n] int64, the sequences.
        begin: column of their first token.
    """

    rows: Tensor
    begin: int


def parts_of(mask: Tensor | None, batch: int, device: torch.device) -> list[Part]:
    """Return the parts of a batch by its attention mask [B, T], in which zeros stand before the prompts."""
    if mask is None:
        return [Part(torch.arange(batch, device=device), 0)]
    begins = mask.ne(0).int().argmax(1)
    return [Part(begins.eq(begin).nonzero().squeeze(1), int(begin)) for begin in begins.unique()]


class HybridCache:
    """What layers keep of the tokens so far: keys and values of kept chunks, states of fixed size.

    Attributes:
        layers: state of each layer, with the sequences in the order of ``rows``.
        rows: [B] int64, the sequences in the order in which the layers have them; None if empty.
        lengths: [B, 1] int64, number of tokens of each of them, without padding.
        columns: number of tokens of the batch so far, with padding.
    """

    is_compileable = False

    def __init__(self) -> None:
        self.layers: list[LayerState] = []
        self.rows: Tensor | None = None
        self.lengths: Tensor
        self.columns = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of tokens of the batch so far, with padding."""
        return self.columns

    @property
    def bytes_in_use(self) -> int:
        """Bytes of keys, values and states of all sequences."""
        return sum(layer.bytes_in_use for layer in self.layers)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Refuse beam search."""
        raise ValueError("beam search is not supported by this model's cache; use num_beams=1, or use_cache=False.")


@dataclass
class HybridOutput(ModelOutput):
    """Result of a `HybridForCausalLM`.

    Attributes:
        loss: mean cross-entropy of the labels; None without labels.
        logits: [B, T, vocab].
        cache: the cache; None without.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    cache: HybridCache | None = None

    @property
    def past_key_values(self) -> HybridCache | None:
        """The cache, by its name in earlier versions."""
        return self.cache


class HybridForCausalLM(PreTrainedModel, GenerationMixin):
    """The language model."""

    config_class = HybridConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _is_stateful = True
    _no_split_modules = ["Block"]  # noqa: RUF012
    _tied_weights_keys = {"head.weight": "embedding.weight"}  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        a = self.a = Architecture.from_dict(config.architecture)
        self.embedding = nn.Embedding(a.vocab_size, a.width)
        self.blocks = nn.ModuleList(Block(a, index) for index in range(len(a.layers)))
        self.norm = nn.RMSNorm(a.width, eps=NORM_EPS if a.backbone is None else a.backbone.norm_eps)
        self.head = nn.Linear(a.width, a.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embedding = cast("nn.Embedding", value)

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.head = new_embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: HybridCache | None = None,
        past_key_values: HybridCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> HybridOutput:
        """Return next-token logits.

        Args:
            input_ids: [B, T] token ids; with a filled cache those that it does not have.
            attention_mask: [B, columns so far]; zeros for padding before the prompts. Others have no effect.
            cache: cache to fill or to continue.
            past_key_values: the same, by its name in earlier versions of transformers.
            labels: [B, T] ids to predict, -100 for none; each is compared with the logits of the token before it.
            use_cache: whether to return a cache.
            logits_to_keep: number of last tokens whose logits to compute, or their indices; 0 for all.
            kwargs: further arguments of the loss.
        """
        cache = past_key_values if cache is None else cache
        if cache is None and use_cache:
            cache = HybridCache()
        if cache is None or cache.rows is None:
            hidden = self._read(input_ids, attention_mask, cache)
        else:
            steps = [self._step(token, cache) for token in input_ids.split(1, dim=1)]
            hidden = torch.cat(steps, dim=1)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.head(self.norm(hidden[:, kept]))
        loss = None
        if labels is not None:
            names = {name: value for name, value in kwargs.items() if name == "num_items_in_batch"}
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.a.vocab_size, **names)
        return HybridOutput(loss=loss, logits=logits, cache=cache)

    def _read(self, tokens: Tensor, mask: Tensor | None, cache: HybridCache | None) -> Tensor:
        """Return the output [B, T, width] of the last block for whole sequences, zeros at padding; fill the cache."""
        if cache is not None and mask is not None and not mask[:, -1].all():
            raise ValueError("attention_mask has padding after a prompt; pad on the left, by padding_side='left'.")
        batch, columns = tokens.shape
        parts = parts_of(mask, batch, tokens.device)
        hidden = self.norm.weight.new_zeros(batch, columns, self.a.width)
        states: list[list[LayerState]] = []
        for rows, begin in parts:
            own = [] if cache is None else [LayerState() for _ in self.blocks]
            start = torch.zeros(len(rows), 1, dtype=torch.int64, device=tokens.device)
            hidden[rows, begin:] = self._blocks(tokens[rows, begin:], own, start).to(hidden.dtype)
            if cache is not None:
                states.append(own)
        if cache is not None:
            cache.layers = [LayerState.joined(list(layers)) for layers in zip(*states, strict=True)]
            cache.rows = torch.cat([part.rows for part in parts])
            cache.lengths = torch.cat([torch.full_like(part.rows, columns - part.begin) for part in parts])[:, None]
            cache.columns = columns
        return hidden

    def _step(self, token: Tensor, cache: HybridCache) -> Tensor:
        """Return the output [B, 1, width] of the last block for the next token [B, 1]; update the cache."""
        assert cache.rows is not None
        if len(token) != len(cache.rows):
            raise ValueError(f"input_ids has {len(token)} sequences, but the cache has {len(cache.rows)}.")
        made = self._blocks(token[cache.rows], cache.layers, cache.lengths)
        cache.lengths = cache.lengths + 1
        cache.columns += 1
        hidden = torch.empty_like(made)
        hidden[cache.rows] = made
        return hidden

    def _blocks(self, tokens: Tensor, states: list[LayerState], start: Tensor) -> Tensor:
        """Return the output [B, T, width] of the last block; without states none is kept."""
        pad = getattr(self.config, "pad_token_id", None)
        if pad is not None and pad >= self.a.vocab_size:  # it has no embedding; only what follows an end has it
            tokens = tokens.masked_fill(tokens == pad, 0)
        x = self.embedding(tokens)
        if self.a.backbone is not None:
            x = x * self.a.backbone.embedding_scale
        for index, block in enumerate(self.blocks):
            x = block(x, states[index] if states else None, start)
        return x

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Return False: the cache of this model is a `HybridCache`."""
        return False

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        past_key_values: HybridCache | None = None,
        cache: HybridCache | None = None,
        attention_mask: Tensor | None = None,
        use_cache: bool | None = True,
        logits_to_keep: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the arguments of `forward` for the tokens that the cache does not have."""
        cache = past_key_values if cache is None else cache
        if use_cache and cache is None:
            cache = HybridCache()
        given = {"attention_mask": attention_mask, "cache": cache, "use_cache": use_cache}
        kept = {} if logits_to_keep is None else {"logits_to_keep": logits_to_keep}
        return {"input_ids": input_ids if cache is None else input_ids[:, cache.columns :], **given, **kept}

    def _update_model_kwargs_for_generation(
        self, outputs: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        updated: dict[str, Any] = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        if outputs.cache is not None and "cache" not in updated:  # earlier versions know another name
            updated["past_key_values"] = outputs.cache
        return updated
