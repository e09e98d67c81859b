"""Sweep: Optuna over the outer hyperparameters of a search; each trial is a search with its own run folder.

python -m nas.sweep +space=token_hybrid
"""

from nas.cli.start import command
from nas.distributed.launch import apart
from nas.search import MISSING_SPACE

_compose_and_sweep = command("sweep", job="nas.sweeps.run:sweep", missing={"space": MISSING_SPACE})


def main() -> None:
    """Run the command. Processes that srun starts are separate commands that share a study."""
    apart()
    _compose_and_sweep()


if __name__ == "__main__":
    main()
