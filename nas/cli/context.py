"""Checks of the options of processes that share sequences (`trainer.context_parallel`)."""

from nas.config import CompareConfig, RunConfig, SweepConfig
from nas.distributed.launch import how_to_start, launched
from nas.errors import UserError


def check_context(config: RunConfig) -> None:
    """Raise a UserError if processes cannot share sequences with these options."""
    sharing, started = config.trainer.context_parallel, launched()
    if sharing == 1:
        return
    if isinstance(config, SweepConfig | CompareConfig):
        raise UserError(
            f"trainer.context_parallel={sharing} shares a sequence between processes, but each training of a sweep or "
            "a comparison has one process; give trainer.context_parallel=1."
        )
    if started.by is None:
        raise UserError(
            f"trainer.context_parallel={sharing} needs {sharing} processes for each sequence, but this is a single "
            f"process; run: {how_to_start(sharing)} (or srun under SLURM)."
        )
    if started.world % sharing:
        raise UserError(
            f"trainer.context_parallel={sharing} does not divide the {started.world} processes that {started.by} "
            f"started; give a divisor of {started.world}, or start a multiple of {sharing}."
        )
    for given, why, instead in _unsupported(config):
        raise UserError(f"trainer.context_parallel={sharing} is not supported with {given}, {why}; give {instead}.")


def _unsupported(config: RunConfig) -> list[tuple[str, str, str]]:
    """Return the given options that do not work with shared sequences: the option, why not, and what would do."""
    trainer, budget = config.trainer, config.budget
    found = []
    if trainer.strategy == "fsdp":
        found.append(("trainer.strategy=fsdp", "which gathers weights in other groups", "trainer.strategy=ddp"))
    if trainer.cuda_graphs is True:
        found.append(
            ("trainer.cuda_graphs=true", "since the sizes of messages depend on routes", "trainer.cuda_graphs=auto")
        )
    if budget.distillation:
        found.append(
            (
                f"budget.distillation={budget.distillation:g}",
                "whose teacher computes whole sequences",
                "budget.distillation=0",
            )
        )
    return found
