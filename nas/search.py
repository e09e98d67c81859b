"""Search: train a supernet with its routers under a budget, then say what was found and what it is worth.

python -m nas.search +space=token_hybrid
"""

from typing import cast, get_args

from rich.console import Console

import search_spaces
from nas.command import command
from nas.config import SearchConfig

CHOICES = ", ".join(search_spaces.names())


def search(config: SearchConfig, console: Console) -> int:
    """One search: supernet, closing comparison, run folder. Returns the exit status."""
    # Not at the top of the file: help and most refusals need none of it, and should not take the seconds of torch.
    from kernels.arguments import RouteGrad
    from nas.checks import check_choice
    from nas.closing import close
    from nas.data import build_task
    from nas.fit import fit
    from nas.launch import launched
    from nas.module import TrainingModule
    from nas.run import start
    from nas.searchers import check_searcher
    from nas.selection import select

    check_choice("space.name", config.space.name, search_spaces.names())
    check_choice("space.route_grad", config.space.route_grad, get_args(RouteGrad))
    task = build_task(config.data, config.seed)
    space = search_spaces.build(config.space, config.model, task.vocab_size)
    check_searcher(config, space)
    module = TrainingModule(space, task, config, cast(RouteGrad, config.space.route_grad))
    run = start("search", config)
    console.print(f"Searching {config.space.name} on {task.name}, run folder {run.path}", markup=False, soft_wrap=True)
    finished = fit(module, run, console)
    searched = select(module, run, console) if finished and launched().first else None
    return close(module, run, console, finished, searched)


main = command(
    "search",
    search,
    missing={"space": f"space is missing; choose one of: {CHOICES}. For example: +space=token_hybrid"},
)

if __name__ == "__main__":
    main()
