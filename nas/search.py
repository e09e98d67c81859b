"""Search: train a supernet with its routers under a budget, then say what was found and what it is worth.

python -m nas.search +space=token_hybrid
"""

from rich.console import Console

import search_spaces
from nas.closing import close
from nas.command import command, start
from nas.config import SearchConfig
from nas.data import build_task
from nas.errors import UserError
from nas.fit import fit
from nas.module import TrainingModule

CHOICES = ", ".join(search_spaces.names())


def search(config: SearchConfig, console: Console) -> int:
    """One search: supernet, closing comparison, run folder. Returns the exit status."""
    task = build_task(config.data, config.seed)
    if config.space.name not in search_spaces.names():
        raise UserError(f"space.name={config.space.name} is unknown; choose one of: {CHOICES}.")
    architecture = search_spaces.supernet(config.space.name, config.model, task.vocab_size)
    module = TrainingModule(architecture, task, config, config.space.route_grad)
    run = start("search", config)
    console.print(f"Searching [bold]{config.space.name}[/] on [bold]{task.name}[/], run folder {run.path}")
    finished = fit(module, run, console)
    return close(module, run, console, finished)


main = command(
    "search",
    search,
    missing={"space": f"space is missing; choose one of: {CHOICES}. For example: +space={search_spaces.names()[0]}"},
)

if __name__ == "__main__":
    main()
