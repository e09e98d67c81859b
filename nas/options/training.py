"""Options of training and selection: relaxation, searcher, budget, and the trainer itself."""

from dataclasses import dataclass
from typing import Any

from nas.search_spaces.options import option

SCHEDULES = ("cosine", "linear", "constant", "wsd")
"""Schedules of the learning rate, see `nas.training.updates.optimizer.schedule`."""
OPTIMIZERS = ("adamw", "muon")
"""Optimisers, see `nas.training.updates.optimizer.build_optimizer`."""
LAST, BEST = "last", "best"
"""Weights that a run can end with: those of its last step, or those with the best validation quality."""


@dataclass
class RelaxationConfig:
    """How the logits of routers and of layers become weights."""

    name: str = option("argmax_ste, gumbel, darts, gdas, drnas or uniform, see `nas.relaxations`")
    router: str | None = option("relaxation of routers; null: the same", default=None)
    pairs: bool = option("whether only two options of each layer are computed and compete in a step", default=False)
    temperature_start: float = option("temperature at the first step", above=0, ceiling=1e6)
    temperature_end: float = option("temperature at the last step", above=0, ceiling=1e6)


@dataclass
class SearcherConfig:
    """The searcher, which selects the architecture; see `nas.searchers`."""

    name: str = option("searcher, which `searcher=` selects")
    select_at: float = option(
        "fraction of training after which the architecture is selected and the rest trains it alone; 1: at the end",
        default=1.0,
        above=0,
        at_most=1,
    )


@dataclass
class RandomConfig(SearcherConfig):
    """Options of every searcher that scores candidates with the shared weights."""

    evaluations: int = option("architectures to score; a smaller space is scored completely", at_least=1, ceiling=10**7)
    batches: int = option("batches that each architecture is scored on", at_least=1, ceiling=10**6)
    tolerance: float | None = option(
        "standard errors by which the cheapest architecture may be worse than the best; null: the best is selected",
        default=None,
        at_least=0,
        ceiling=1e3,
    )


@dataclass
class EvolutionConfig(RandomConfig):
    """Regularised evolution."""

    population: int = option("members of the population; the first are random", at_least=1, ceiling=10**6)
    sample: int = option("members that compete to be the next parent", at_least=1, ceiling=10**6)


@dataclass
class OptunaConfig(RandomConfig):
    """Optuna over architectures."""

    sampler: str = option("sampler of Optuna, such as TPE, Random, NSGAII or GP")
    sampler_options: dict[str, Any] = option("arguments of the sampler", default_factory=dict)


@dataclass
class HalvingConfig(SearcherConfig):
    """Successive halving: architectures are trained alone, and the worse ones dropped; see `nas.searchers.halving`."""

    evaluations: int = option(
        "architectures to train; a smaller space is trained completely", at_least=1, ceiling=10**5
    )
    first_rung: float = option("fraction of training after which the first ones are dropped", above=0, at_most=1)
    reduction_factor: float = option(
        "one in this many goes on at each rung; a rung comes this many times as late as the one before",
        at_least=2,
        ceiling=10**5,
    )
    batches: int = option("batches that each architecture is compared on at each length", at_least=1, ceiling=10**6)
    length_factors: list[int] | None = option(
        "lengths at which they are compared, times data.length; null: 1 and the longest of data up to 16",
        default=None,
        at_least=1,
        ceiling=10**6,
    )
    restarts: int = option(
        "trainings of each architecture, from different initial weights", default=1, at_least=1, ceiling=10**4
    )


@dataclass
class RuleConfig(SearcherConfig):
    """A placement by a rule, which searches are compared with; see `nas.searchers.rule`."""

    rule: str = option("which layers keep softmax attention: uniform, random, original or greedy")
    batches: int = option(
        "batches on which greedy measures the divergence from the pretrained model", at_least=1, ceiling=10**6
    )


@dataclass
class BudgetConfig:
    """The allowed cost and how it is enforced; see `nas.budget.controller.Budget`."""

    resource: str = option("limited cost: softmax_share, kv_bytes, flops or latency")
    context: int = option("tokens of the sequence for kv_bytes, flops and latency", at_least=1, ceiling=10**12)
    target: float = option("allowed cost, in the unit of the resource", at_least=0, ceiling=1e24)
    exact: bool = option("whether the cost must equal the target, not only stay below it")
    start: str = option(
        "dense phase: most_expensive (all softmax), both, cheapest (all linear), or drawn (softmax, then any layers)"
    )
    learnt_at: float = option("fraction of the initial loss at which routing begins", at_least=0, at_most=1)
    dense_until: float = option("fraction of training after which routing begins in any case", at_least=0, at_most=1)
    tighten_over: float = option(
        "fraction of training over which the allowed cost moves to the target", at_least=0, at_most=1
    )
    rate: float = option("integral gain of the multiplier", at_least=0, ceiling=1e3)
    gain: float = option("proportional gain of the multiplier", at_least=0, ceiling=1e3)
    price: float = option(
        "minimum multiplier until settle_from, which drops chunks that do not lower the loss; ignored if exact",
        at_least=0,
        ceiling=1e3,
    )
    settle_from: float = option("fraction of training after which the minimum multiplier is 0", at_least=0, at_most=1)
    max_multiplier: float = option("maximum multiplier", at_least=0, ceiling=1e3)
    route_dropout_over: float = option(
        "fraction of training in which ever fewer random chunks are kept whatever routers decide; 0: none are",
        default=0.0,
        at_least=0,
        at_most=1,
    )
    route_dropout: float = option(
        "probability that a chunk is kept at random afterwards, if route_dropout_over is not 0",
        default=0.0,
        at_least=0,
        below=1,
    )
    phase: str = option(
        "measured for latency: decode (one token after the context) or prefill (the whole context)", default="decode"
    )
    loss_margin: float | None = option(
        "rise of the loss, as a fraction of the first loss, from which the multiplier is 0; null: it never is",
        default=None,
        above=0,
        ceiling=1e3,
    )
    by_layer: bool = option(
        "whether each layer has a multiplier of its own and may cost the same fraction of its range; not if exact",
        default=False,
    )
    distillation: float = option(
        "weight of distilling the model of the dense phase while the budget tightens; 0: no distillation",
        default=0.0,
        at_least=0,
        ceiling=1e3,
    )


@dataclass
class AlignConfig:
    """How the operations of a search learn from the pretrained model it starts from; see `nas.training.alignment`."""

    steps: int | None = option(
        "steps before training in which operations learn the original layers' outputs; null: trainer.steps / 10",
        default=0,
        at_least=0,
        ceiling=10**9,
    )
    learning_rate: float = option(
        "peak learning rate of these steps; for matrices it is divided by the root of their inputs",
        default=0.03,
        above=0,
        ceiling=10,
    )
    distillation: float = option(
        "weight of the divergence from the original model's predictions in the loss of the search; 0: none",
        default=0.0,
        at_least=0,
        ceiling=1e3,
    )


@dataclass
class HealConfig:
    """How the answer of a search learns from the pretrained model it started from; see `nas.training.healing`."""

    steps: int | None = option(
        "steps after the search in which its answer learns from the original model; null: trainer.steps / 4",
        default=0,
        at_least=0,
        ceiling=10**9,
    )
    learning_rate: float = option("peak learning rate of these steps", default=1e-4, above=0, ceiling=10)
    hidden: float = option(
        "fraction of these steps that learns the hidden states of each layer; the others learn the predictions",
        default=0.3,
        at_least=0,
        at_most=1,
    )
    temperature: float = option("temperature of the predictions that are compared", default=1.0, above=0, ceiling=1e3)
    length_factor: int = option(
        "how many times longer these sequences are than in training; a batch has so many times fewer",
        default=1,
        at_least=1,
        ceiling=10**6,
    )


@dataclass
class TrainerConfig:
    """Length of training, optimiser, schedule of the learning rate, and devices."""

    steps: int = option("training steps", at_least=1, ceiling=10**9)
    learning_rate: float = option("peak learning rate of the weights", above=0, ceiling=10)
    router_learning_rate: float = option("peak learning rate of the routers", at_least=0, ceiling=10)
    architecture_learning_rate: float = option("peak learning rate of the architecture logits", at_least=0, ceiling=10)
    longer_from: float = option(
        "fraction of training from which sequences are longer; 1: never", default=1.0, at_least=0, at_most=1
    )
    longer: int = option(
        "how many times longer these sequences are; a batch has so many times fewer",
        default=4,
        at_least=2,
        ceiling=10**6,
    )
    bilevel: bool = option(
        "whether routers and architecture logits learn from held-out batches, in alternation with the weights"
    )
    router_eps: float = option("epsilon of AdamW for the routers", above=0, ceiling=1)
    final_learning_rate: float = option("last learning rate, as a fraction of the peak", at_least=0, at_most=1)
    warmup_steps: int = option(
        "steps in which the learning rate rises; at most trainer.steps", at_least=0, ceiling=10**9
    )
    weight_decay: float = option("weight decay of AdamW", at_least=0, ceiling=100)
    beta2: float = option("decay of AdamW's second moment", at_least=0, below=1)
    gradient_clip: float = option("largest norm of the gradient; 0: not clipped", at_least=0, ceiling=1e6)
    log_every: int = option("steps between two entries of the curves", at_least=1, ceiling=10**9)
    validate_every: int = option("steps between two validations", at_least=1, ceiling=10**9)
    checkpoint_every: int = option(
        "steps between two checkpoints; the last step saves one too", at_least=1, ceiling=10**9
    )
    accelerator: str = option("kind of device: auto, cpu, cuda or mps")
    strategy: str = option("auto, ddp or fsdp; auto: ddp if torchrun or srun started several processes")
    devices: Any = option(
        "devices of each machine, a number or a list; auto: one for each process", auto=True, at_least=-1, ceiling=10**4
    )
    num_nodes: Any = option("machines; auto: as started by torchrun or srun", auto=True, at_least=1, ceiling=10**6)
    context_parallel: int = option(
        "processes that share each sequence, of which each has one stretch", default=1, at_least=1, ceiling=10**4
    )
    precision: str = option("precision of Lightning; auto: bf16-mixed on a GPU, 32-true elsewhere")
    cuda_graphs: Any = option(
        "true, false or auto: CUDA graphs for at most 65536 tokens in one process; true: also with ddp"
    )
    activation_checkpointing: bool = option(
        "whether the backward pass computes each block again, so that its activations take no memory", default=False
    )
    schedule: str = option(
        "schedule of the learning rate: cosine, linear, constant, or wsd (constant, then linear at the end)",
        default="cosine",
    )
    decay_share: float = option(
        "fraction of the steps over which the schedule wsd falls", default=0.2, at_least=0, at_most=1
    )
    optimizer: str = option(
        "adamw, or muon for the matrices of the blocks and AdamW for everything else", default="adamw"
    )
    ema: float = option(
        "decay of the moving average of the weights that evaluation and answer use; 0: no average",
        default=0.0,
        at_least=0,
        below=1,
    )
    keep_best: bool = option(
        "whether a checkpoint of the best validation quality is kept beside those to resume from", default=False
    )
    answer: str = option(
        "weights that the run ends with: last, or best, those of the best validation quality", default=LAST
    )
    compile: bool = option("whether torch.compile compiles the blocks and the loss of a step", default=False)
    accumulate: int = option(
        "micro-batches into which the batch of a step is split, which take less memory",
        default=1,
        at_least=1,
        ceiling=10**6,
    )
