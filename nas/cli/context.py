"""Checks of the options of processes that share sequences (`trainer.context_parallel`)."""

from nas.config import CompareConfig, RunConfig, SweepConfig
from nas.data.tokens import PACKED
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
    trainer, distillation = config.trainer, config.budget.distillation
    packed = getattr(config.data, "documents", None) == PACKED
    every = (
        (
            trainer.strategy == "fsdp",
            ("trainer.strategy=fsdp", "which gathers weights in other groups", "trainer.strategy=ddp"),
        ),
        (
            trainer.cuda_graphs is True,
            ("trainer.cuda_graphs=true", "since the sizes of messages depend on routes", "trainer.cuda_graphs=auto"),
        ),
        (
            trainer.compile,
            ("trainer.compile=true", "since messages are not compiled", "trainer.compile=false"),
        ),
        (
            trainer.accumulate > 1,
            (f"trainer.accumulate={trainer.accumulate}", "which splits whole sequences", "trainer.accumulate=1"),
        ),
        (
            distillation > 0,
            (
                f"budget.distillation={distillation:g}",
                "whose teacher computes whole sequences",
                "budget.distillation=0",
            ),
        ),
        (
            packed,
            ("data.documents=packed", "whose documents are computed as whole sequences", "data.documents=joined"),
        ),
    )
    return [given for is_given, given in every if is_given]
