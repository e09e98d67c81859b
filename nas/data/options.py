"""What tasks check of their options alike."""

from nas.errors import UserError


def check_counts(**options: int) -> None:
    """UserError for the first option of a task that is less than 1."""
    for name, value in options.items():
        if value < 1:
            raise UserError(f"data.{name}={value} is too small; give 1 or more.")


def halvings(name: str, full: int, least: int) -> list[int]:
    """full, full / 2, ... down to ``least``; UserError where option ``name`` is less than its least value."""
    if least > full:
        raise UserError(f"data.min_{name}={least} is more than data.{name}={full}; give at most {full}.")
    levels = [full]
    while levels[-1] // 2 >= least:
        levels.append(levels[-1] // 2)
    return levels
