"""Train a small Llama with `transformers` alone, as anybody's checkpoint: softmax everywhere, RoPE, grouped heads.

    python -m experiments.pretrained.llama tokens/llama outputs/pretrained/models/llama --minutes 4

By default it has 30.4 million parameters with a vocabulary of 8192. Neither the model nor the loop uses this toolkit;
tokens are read from the shards of a folder of `nas.prepare`. The learning rate follows the clock or the steps,
whichever is further, so that the training ends as planned on any machine. The last part of the training has sequences
of the whole context. It is short, and therefore not resumable: run again, it begins anew. The folder has
`config.json`, the weights in bfloat16 and the `tokenizer.json` of the tokens.
"""

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.runs import status_of
from nas.errors import UserError, user_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LONG_FROM = 0.8
"""Part of the training after which sequences are as long as the context."""
WARM_UP = 0.02
"""Part of the training in which the learning rate rises."""
SAID_EVERY = 50
"""Steps between two lines of progress."""


class Shards:
    """Random windows of the training shards of a folder of `nas.prepare`.

    Args:
        folder: the folder.
        seed: seed of the windows.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        try:
            record = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} has no readable tokens.json; give a folder of nas.prepare.") from error
        dtype = np.dtype(record["dtype"]).newbyteorder("<")
        names = [shard["name"] for shard in record["shards"] if shard["part"] == "train" and shard["tokens"]]
        self._parts = [np.memmap(folder / f"{name}.bin", dtype, mode="r") for name in names]
        self._shares = np.array([len(part) for part in self._parts]) / sum(map(len, self._parts))
        self.vocab_size, self.end, self._seed = int(record["vocab_size"]), int(record["end"]), seed

    def batch(self, step: int, rows: int, length: int) -> Tensor:
        """Return the tokens [rows, length] of a step."""
        drawn = np.random.default_rng((self._seed, step))

        def window() -> NDArray[np.int64]:
            part = self._parts[drawn.choice(len(self._parts), p=self._shares)]
            start = int(drawn.integers(max(1, len(part) - length + 1)))
            return np.resize(part[start : start + length].astype(np.int64), length)

        return torch.from_numpy(np.stack([window() for _ in range(rows)]))


@user_errors()
def train(given: argparse.Namespace) -> None:
    """Train a model and write its folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shards = Shards(given.tokens, given.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(given.seed)
    model: nn.Module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shards.vocab_size,
            hidden_size=given.width,
            intermediate_size=given.mlp_width,
            num_hidden_layers=given.layers,
            num_attention_heads=given.heads,
            num_key_value_heads=given.key_heads,
            max_position_embeddings=given.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=shards.end,
        )
    )
    model.to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    tokens, started, step, part = 0, time.monotonic(), 0, 0.0
    while part < 1:
        length = given.length if part < LONG_FROM else given.context
        batch = shards.batch(step, max(1, given.batch_tokens // length), length).to(device)
        for group in optimizer.param_groups:
            group["lr"] = given.learning_rate * rate_at(part)
        loss = _step(model, optimizer, batch)
        step, tokens = step + 1, tokens + batch.numel()
        if step % SAID_EVERY == 0:
            speed = tokens / (time.monotonic() - started)
            print(f"step {step:,}: loss {loss.item():.3f}, {tokens:,} tokens, {speed:,.0f} a second", flush=True)
        elapsed = (time.monotonic() - started) / 60
        part = max(step / given.steps if given.steps else 0.0, elapsed / given.minutes if given.minutes else 0.0)
    given.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(given.tokens / "tokenizer.json", given.out / "tokenizer.json")
    cast("PreTrainedModel", model.to(torch.bfloat16)).save_pretrained(given.out)
    print(f"{given.out}: {step:,} steps, {tokens:,} tokens, {elapsed:.1f} minutes, loss {loss.item():.3f}")


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor) -> Tensor:
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=batch.device.type == "cuda"):
        loss: Tensor = model(input_ids=batch, labels=batch).loss
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def rate_at(part: float) -> float:
    """Return the factor on the learning rate after a part of the training: it rises, then falls to 0 as half a cosine.

    >>> [round(rate_at(part), 3) for part in (0.0, 0.01, 0.5, 1.0)]
    [0.001, 0.501, 0.5, 0.0]
    """
    return min(1.0, part / WARM_UP + 1e-3) * (1 + math.cos(math.pi * part)) / 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.pretrained.llama", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("tokens", type=Path, help="folder of nas.prepare with a tokenizer.json")
    parser.add_argument("out", type=Path, help="folder of the model")
    parser.add_argument("--minutes", type=float, help="end after so many minutes")
    parser.add_argument("--steps", type=int, help="end after so many steps, or earlier by --minutes")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data (default: 0)")
    parser.add_argument("--layers", type=int, default=10, help="layers (default: 10)")
    parser.add_argument("--width", type=int, default=512, help="width (default: 512)")
    parser.add_argument("--mlp-width", type=int, default=1280, help="width of the MLP (default: 1280)")
    parser.add_argument("--heads", type=int, default=8, help="heads of queries (default: 8)")
    parser.add_argument("--key-heads", type=int, default=2, help="heads of keys and values (default: 2)")
    parser.add_argument("--length", type=int, default=1024, help="tokens of a sequence (default: 1024)")
    parser.add_argument("--context", type=int, default=8192, help="tokens of the last sequences (default: 8192)")
    parser.add_argument("--batch-tokens", type=int, default=65536, help="tokens of a batch (default: 65536)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="largest learning rate (default: 2e-3)")
    given = parser.parse_args(arguments)
    if not given.minutes and not given.steps:
        parser.error("give --minutes or --steps, at which the training ends")
    return status_of(partial(train, given))


if __name__ == "__main__":
    sys.exit(main())
