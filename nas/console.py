"""Terminal output: sentences, progress bars, and fewer warnings of other packages."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from nas.distributed.launch import launched

WIDE = 1000
"""Width of lines in a file or a pipe, in characters: no table of a command is wider."""


def console_of_command() -> Console:
    """Return the console of a command, which is silent in all processes but the first.

    It is as wide as the terminal. In a file or a pipe, which has no width, it is wide enough that no line of a table is
    broken, unless COLUMNS sets a width.
    """
    console = Console(quiet=not launched().first)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def say(console: Console, sentence: str) -> None:
    """Print a sentence without markup and without line breaks, so that paths in it stay whole."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def terminal_table(rows: Sequence[Mapping[str, str]], title: str, caption: str, first_bold: bool = False) -> Table:
    """Return a table for a terminal, from text by column; columns are aligned to the right, except the first."""
    made = Table(title=title, caption=caption)
    for place, column in enumerate(rows[0]):
        made.add_column(column, justify="right" if place else "left")
    for row in rows:
        made.add_row(*row.values(), style="bold" if first_bold and row is rows[0] else "")
    return made


class Bars(Progress):
    """A progress bar for each task, with the figures of the task on the line below."""

    several: bool = False
    """Whether several tasks run at a time: their figures are then cut at the terminal's width, not wrapped."""

    @classmethod
    def on(cls, console: Console, several: bool = False, amounts: bool = False) -> Self:
        """Make the bars of a console, disabled if it is no terminal; a single task also shows the remaining time.

        Args:
            console: the console.
            several: whether several tasks run at a time.
            amounts: whether tasks count bytes, which are shown in MB and MB/s.
        """
        left = () if several else (TextColumn("<"), TimeRemainingColumn())
        count: tuple[ProgressColumn, ...] = (
            (DownloadColumn(), TransferSpeedColumn()) if amounts else (MofNCompleteColumn(),)
        )
        bars = cls(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            *count,
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
    """Hide tips and warnings of other packages that users of this package cannot act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "tensorboard"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*dataloader is not resumable.*",
        ".*Cannot dispatch to fused implementation.*",  # torch, of a norm in mixed precision
        ".*`broadcast_buffers` is deprecated.*",  # torch 2.13; torch 2.11 has no other name for it
        ".*FSDP2-wrapped module .* returned a view tensor.*",  # torch; nothing is changed in place here
    ):
        warnings.filterwarnings("ignore", message)
    if not launched().first:
        warnings.simplefilter("ignore")  # the first process shows the same warnings
