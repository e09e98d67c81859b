"""What people see on a terminal: sentences, progress bars, and silence of other packages."""

import logging
import warnings
from collections.abc import Iterator
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from nas.distributed.launch import launched


def say(console: Console, sentence: str) -> None:
    """Print a sentence as it is: paths in it are neither markup nor broken over lines."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


class Bars(Progress):
    """A progress bar for each task, and its figures in a line below it: side by side they are wider than a terminal."""

    several: bool = False
    """Whether tasks run beside each other: their figures are then cut at the terminal's width, not wrapped."""

    @classmethod
    def on(cls, console: Console, several: bool = False) -> Self:
        """Make the bars of a console; they show nothing where nobody watches. One task alone tells the time left."""
        left = () if several else (TextColumn("<"), TimeRemainingColumn())
        bars = cls(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            *left,
            console=console,
            disable=not console.is_terminal,
        )
        bars.several = several
        return bars

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            figures = task.fields["figures"]
            yield Text(f"  {figures}", no_wrap=True, overflow="ellipsis") if self.several else Text(figures)


def silence() -> None:
    """Tips and notes of Lightning and TensorBoard say nothing that a user here could act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "tensorboard"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*dataloader is not resumable.*",
        ".*Cannot dispatch to fused implementation.*",  # torch, of a norm in mixed precision
        ".*`broadcast_buffers` is deprecated.*",  # torch 2.13, of what 2.11 has no other name for
        ".*FSDP2-wrapped module .* returned a view tensor.*",  # torch; nothing is changed in place here
    ):
        warnings.filterwarnings("ignore", message)
    if not launched().first:
        warnings.simplefilter("ignore")  # the first process says the same
