"""The training batches of a task, as this process gets them."""

from collections.abc import Iterator

from torch.utils.data import DataLoader, IterableDataset

from nas.data import Part, Scored, Task
from nas.distributed.collectives import own_rows
from nas.training.step.accumulation import Split, split
from nas.training.step.stretches import check_length
from nas.training.updates.bilevel import chooses

Given = Scored | Split
"""What a training step gets: its batch, or the micro-batches of it."""


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
    ) -> None:
        self._task, self._first, self._steps, self._bilevel = task, first_step, steps, bilevel
        self._accumulate, self._sharing, self._grain = accumulate, sharing, grain

    def __iter__(self) -> Iterator[Given]:
        for step in range(self._first, self._steps):
            part: Part = "all"
            if self._bilevel:
                part = "choices" if chooses(step) else "weights"
            batch = self._task.train_batch(step, part)
            check_length(
                f"the batch of step {step} has a length of ", batch.tokens.shape[1], self._sharing, self._grain
            )
            yield own_rows(batch, self._sharing).scored() if self._accumulate == 1 else split(batch, self._accumulate)

    def loader(self, pin_memory: bool) -> DataLoader[Given]:
        """Return a loader that yields the batches unchanged. Pinned memory lets copies overlap computation."""
        return DataLoader(self, batch_size=None, pin_memory=pin_memory)
