"""Train: one architecture from scratch, with the recipe of a search: the baselines a search is measured against.

python -m nas.train architecture=softmax
python -m nas.train architecture=outputs/search/.../architecture.json
"""

from pathlib import Path

from rich.console import Console

from nas.architecture import Architecture
from nas.closing import close
from nas.command import command, start
from nas.config import TrainConfig
from nas.data import build_task
from nas.errors import UserError
from nas.fit import fit
from nas.module import TrainingModule
from nas.run import load_architecture

NAMED = ("softmax", "linear", "token_hybrid")


def train(config: TrainConfig, console: Console) -> int:
    """One training. Returns the exit status."""
    task = build_task(config.data, config.seed)
    architecture = _architecture(config, task.vocab_size)
    module = TrainingModule(architecture, task, config)
    run = start("train", config)
    console.print(f"Training [bold]{config.architecture}[/] on [bold]{task.name}[/], run folder {run.path}")
    finished = fit(module, run, console)
    return close(module, run, console, finished)


def _architecture(config: TrainConfig, vocab_size: int) -> Architecture:
    """A named mixer in every layer of the config's model, or the architecture of a file."""
    if config.architecture in NAMED:
        return config.model.architecture((config.architecture,) * config.model.layers, vocab_size)  # type: ignore[arg-type]
    path = Path(config.architecture)
    if not path.exists():
        raise UserError(
            f"architecture={config.architecture} is neither a file nor a name; give the architecture.json of a run, or "
            f"one of: {', '.join(NAMED)}."
        )
    architecture = load_architecture(path)
    if architecture.vocab_size != vocab_size:
        raise UserError(
            f"architecture={path} is for {architecture.vocab_size} tokens, but data={config.data.name} has {vocab_size}."
        )
    return architecture


main = command(
    "train", train, missing={"architecture": f"architecture is missing; give a file or one of: {', '.join(NAMED)}."}
)

if __name__ == "__main__":
    main()
