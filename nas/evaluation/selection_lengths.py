"""The lengths at which trained models are compared on selection batches."""

import inspect
from collections.abc import Sequence

from nas.data import Task
from nas.errors import UserError

LONGEST = 16
"""Longest sequences, as a multiple of the training length, on which models are compared by default."""


def selection_lengths(option: str, given: Sequence[int] | None, measured: Sequence[int], task: Task) -> list[int]:
    """Return the lengths at which models are compared, as multiples of the training length, ascending.

    Args:
        option: name of the option, for messages.
        given: its value; None for 1 and the longest cheap one of ``measured``.
        measured: lengths at which results are measured.
        task: task of the training.

    Raises:
        UserError: no length is given, or the task has selection batches of the training length only.
    """
    longer = "length_factor" in inspect.signature(task.selection_batches).parameters
    if given is None:
        cheap = [factor for factor in measured if factor <= LONGEST]
        return sorted({1, max(cheap, default=1)}) if longer else [1]
    if not given:
        raise UserError(f"{option}=[] is not allowed; give one or more multiples of data.length, or null.")
    factors = sorted(set(given))
    if factors != [1] and not longer:
        raise UserError(
            f"{option}={list(given)} is not allowed for data={task.name}, whose selection_batches has no "
            f"length_factor; give {option}=[1]."
        )
    return factors
