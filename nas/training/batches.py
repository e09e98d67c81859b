"""The training batches of a task, as this process gets them."""

from collections.abc import Iterator

from torch.utils.data import DataLoader, IterableDataset

from nas.config import RunConfig
from nas.data import Part, Scored, Task
from nas.data.batch import Batch, longer_batch_of
from nas.distributed.collectives import own_rows
from nas.errors import UserError
from nas.training.step.accumulation import Split, split
from nas.training.step.stretches import check_length
from nas.training.updates.bilevel import chooses

Given = Scored | Split
"""What a training step gets: its batch, or the micro-batches of it."""


def check_longer(config: RunConfig, task: Task) -> None:
    """Raise a UserError if sequences are to be longer at the end of training, and the task has no such batches."""
    trainer, size = config.trainer, config.data.batch_size
    if trainer.longer_from >= 1:
        return
    given = f"trainer.longer_from={trainer.longer_from:g}"
    if longer_batch_of(task) is None:
        raise UserError(
            f"{given} makes sequences longer at the end of training, which data={task.name} cannot do; give "
            "trainer.longer_from=1, or data=text or data=tokens."
        )
    if size % trainer.longer:
        raise UserError(
            f"{given} makes sequences {trainer.longer} times as long and batches as many times smaller, but "
            f"data.batch_size={size} is no multiple of trainer.longer={trainer.longer}; give such a multiple."
        )


class TrainingStream(IterableDataset[Given]):
    """The scored training batches of a task from a given step on, with the rows, or stretches, of this process.

    Args:
        task: task of the training.
        first_step: step of the first batch.
        steps: steps of the training.
        bilevel: whether steps alternate between two disjoint parts of the data.
        accumulate: number of micro-batches into which each batch is split.
        sharing: number of processes that share each sequence; over 1, batches are not split further.
        grain: tokens of which the length of every sequence is a multiple.
        longer_from: fraction of the steps from which sequences are longer.
        longer: how many times longer they are; the task must have such batches, see `check_longer`.
    """

    def __init__(
        self,
        task: Task,
        first_step: int,
        steps: int,
        bilevel: bool = False,
        accumulate: int = 1,
        sharing: int = 1,
        grain: int = 1,
        longer_from: float = 1.0,
        longer: int = 1,
    ) -> None:
        self._task, self._first, self._steps, self._bilevel = task, first_step, steps, bilevel
        self._accumulate, self._sharing, self._grain = accumulate, sharing, grain
        self._longer_from, self._longer = longer_from * steps, longer

    def __iter__(self) -> Iterator[Given]:
        for step in range(self._first, self._steps):
            part: Part = "all"
            if self._bilevel:
                part = "choices" if chooses(step) else "weights"
            batch = self._batch(step, part)
            check_length(
                f"the batch of step {step} has a length of ", batch.tokens.shape[1], self._sharing, self._grain
            )
            yield own_rows(batch, self._sharing).scored() if self._accumulate == 1 else split(batch, self._accumulate)

    def _batch(self, step: int, part: Part) -> Batch:
        if step < self._longer_from:
            return self._task.train_batch(step, part)
        longer_batch = longer_batch_of(self._task)
        assert longer_batch is not None
        return longer_batch(step, self._longer, part)

    def loader(self, pin_memory: bool) -> DataLoader[Given]:
        """Return a loader that yields the batches unchanged. Pinned memory lets copies overlap computation."""
        return DataLoader(self, batch_size=None, pin_memory=pin_memory)
