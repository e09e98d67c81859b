"""The recorded steps of a training: whole steps, or steps as chains of parts where the host draws options."""

from torch import Tensor

from nas.config import TrainerConfig
from nas.data import Scored
from nas.distributed.launch import launched
from nas.models.language_model import LanguageModel, RunBlock, run_block
from nas.training.graphs.block_graphs import BlockGraphs
from nas.training.graphs.cuda_graphs import Graphs, StaticStep, wanted
from nas.training.graphs.drawn_steps import DrawnStep, DrawnSteps, Parts
from nas.training.step.computation import Step
from nas.training.step.moment import Moment


class RecordedSteps:
    """The CUDA graphs of a training, recorded as its steps need them.

    Args:
        trainer: options of the training.
    """

    def __init__(self, trainer: TrainerConfig) -> None:
        self._trainer = trainer
        self._recordable = True
        self.whole: Graphs | None = None
        """Steps that draw no options on the host."""
        self.drawn: DrawnSteps | None = None
        """Steps that draw options."""
        self.latest: StaticStep | DrawnStep | None = None
        """The step that `find` returned last."""

    @property
    def count(self) -> int:
        """Number of recorded steps and parts of steps."""
        return sum(recorded.count for recorded in (self.whole, self.drawn) if recorded is not None)

    def find(self, step: Step, batch: Scored, moment: Moment) -> StaticStep | DrawnStep | None:
        """Return the CUDA graphs of a step; None if graphs are off or too many shapes were recorded.

        Packed documents are not recorded: launches depend on their borders, which differ from batch to batch.
        """
        self.latest = None
        if batch.documents is None and self._wanted(step.routes.supernet.model, batch.tokens):
            self.latest = self._find(step, batch, moment)
        return self.latest

    def _find(self, step: Step, batch: Scored, moment: Moment) -> StaticStep | DrawnStep | None:
        if step.routes.draws and (step.routes.supernet.budget.draws_dense or not moment.dense):
            if launched().world > 1:  # processes would have to agree on each part
                return None
            if self.drawn is None:
                self.drawn = DrawnSteps(_parts(step), batch.tokens.device)
            return self.drawn.find(batch, moment)
        if self.whole is None:
            supernet = step.routes.supernet
            parameters = [*supernet.model.parameters(), *supernet.architecture_logits.parameters()]
            self.whole = Graphs(step.compute, parameters, _state(step))
        return self.whole.find(batch, moment)

    def _wanted(self, model: LanguageModel, tokens: Tensor) -> bool:
        """Return whether computations on batches like these tokens are recorded as CUDA graphs."""
        return model.capturable and wanted(self._trainer, tokens)

    def discard(self) -> None:
        """Discard all recordings, since steps compute something else from now on."""
        self.whole = self.drawn = None

    def release(self) -> None:
        """Release the memory of all recordings."""
        self._recordable = self.drawn is None or not self.drawn.failed
        self.whole = self.drawn = self.latest = None

    def scoring_run(self, step: Step, tokens: Tensor) -> RunBlock:
        """Return how blocks are called to score architectures on batches like these tokens: as CUDA graphs if wanted.

        A search that draws no options needs no graphs, and where a recording has failed in training, none is tried.
        """
        recorded = step.routes.draws and self._recordable and launched().world == 1
        recorded = recorded and self._wanted(step.routes.supernet.model, tokens)
        return BlockGraphs(tokens.device) if recorded else run_block


def _parts(step: Step) -> Parts:
    """Return the parts of a step that draws its options."""
    supernet = step.routes.supernet
    return Parts(
        supernet.model,
        supernet.architecture_logits,
        step.routes.drawn,
        step.routes.relaxed,
        step.scored,
        step.spending.measure_threshold,
        _state(step),
    )


def _state(step: Step) -> list[Tensor]:
    """Return the tensors that a step changes in place."""
    supernet = step.spending.supernet
    return [*supernet.budget.buffers(), *supernet.architecture_logits.buffers()]
