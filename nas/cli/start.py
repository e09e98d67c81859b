"""The start of every command: Ctrl-C ends it in one line while its imports take seconds.

This module imports nothing that takes time, so that the first statement of a command is in effect at once.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

from nas.distributed.launch import launched, settle
from nas.runs import version

Advice = Mapping[str, str | Callable[[], str]]
"""Message, or a function that makes it, for each option without a default; "a,b" if one of several must be given."""
VERSION = "--version"
STOPPED = "error: stopped before anything was computed."


def command(name: str, job: str, missing: Advice) -> Callable[[], None]:
    """Make the main function of ``python -m nas.<name>``.

    Args:
        name: name of the command and of its file in conf/.
        job: "module:function", imported after the options are parsed, since importing torch takes seconds. The function
            takes the config and a console, and returns the exit status.
        missing: message for each option without a default, for a user who did not give it. ${choices:space} in it lists
            the files of a group.
    """

    def main() -> None:
        with stopped_at_once():
            _print_any_character()
            if VERSION in sys.argv[1:]:
                print(version.text())
                return
            settle()
            import_module("nas.cli.command").run(name, job, missing)

    return main


def _print_any_character() -> None:
    """Let output contain characters that the terminal's encoding lacks, such as µ in GBK: they are printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """End the program at once on Ctrl-C in the block, until `interruptible`; extension modules raise other errors."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interruptible() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from here on, since there may be something to save or to clean up."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    if launched().first:
        os.write(2, f"{STOPPED}\n".encode())
    os._exit(128 + number)
