"""The list of commands, for `python -m nas`."""

import sys
from importlib import import_module

from nas.runs import version

COMMANDS = ("prepare", "search", "train", "sweep", "compare", "visualize", "generate", "evaluate", "export")


def main() -> None:
    """Print the commands, or with --version the versions; refuse other arguments."""
    given = sys.argv[1:]
    if "--version" in given:
        print(version.text())
        return
    print("Neural architecture search for language models that mix softmax and linear attention.\n")
    for name in COMMANDS:
        told = (import_module(f"nas.{name}").__doc__ or "").splitlines()[0]
        print(f"  python -m nas.{name:<10} {told.partition(': ')[2]}")
    print("\nThe options of a command: python -m nas.search --help")
    if wrong := [word for word in given if word not in ("--help", "-h")]:
        meant = f"python -m nas.{wrong[0]}" if wrong[0] in COMMANDS else "one of these commands"
        sys.exit(f"error: nas {' '.join(wrong)} is not a command; run {meant}.")


if __name__ == "__main__":
    main()
