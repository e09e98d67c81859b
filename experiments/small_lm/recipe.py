"""The commands of the study's trainings: options, numbers of parameters, budgets and tokens of each contender."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.halving import search_steps
from experiments.small_lm.corpus import TOKENS
from experiments.small_lm.records import ANSWER, RANDOM, ROUTED
from nas.budget.cost import kv_bytes
from nas.cli.composing import compose_search
from nas.comparisons.contenders import LEAST_SHARE, parameters, widened
from nas.config import SearchConfig
from nas.data.shards.folder import Folder
from nas.models.operations.softmax import Softmax
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.placements import pattern

SEARCH, TUNING, REPORTED = STAGES = ("search", "tuning", "reported")


class Recipe:
    """How contenders are trained at one size.

    Args:
        config: content of config.yaml.
        size: name of the size.
        corpus: folder that `experiments.small_lm.corpus` made.
        overrides: further options of every training.
    """

    def __init__(self, config: Mapping[str, Any], size: str, corpus: Path, overrides: Sequence[str] = ()) -> None:
        self._config, self._corpus, self._overrides = config, corpus.absolute(), list(overrides)
        self._options = [*config["common"], *config["sizes"][size]["options"]]

    @cached_property
    def offsets(self) -> list[str]:
        """The hybrids by hand at every offset, as patterns by letter."""
        every, layers = self._config["contenders"]["every"], self._composed.model.layers
        return ["".join("s" if layer % every == offset else "l" for layer in range(layers)) for offset in range(every)]

    @property
    def length(self) -> int:
        """The training length in tokens."""
        found: int = self._composed.data.length
        return found

    def search(self) -> list[str]:
        """Return the search for layers. Its budget is the cache of as many softmax layers as a hybrid by hand has."""
        own = self._config["search"]
        options = [*self._options, *self._budget(self._allowed), self._width(self.offsets[0]), *own["options"]]
        return ["nas.search", f"+space={ANSWER}", *options, *self._common(own["seed"], ANSWER)]

    def training(
        self, name: str, stage: str, rate: float, seed: int, answer: Architecture | None, share: float | None
    ) -> list[str]:
        """Return module and options of a training.

        Args:
            name: name of the contender.
            stage: `TUNING` or `REPORTED`.
            rate: peak learning rate.
            seed: seed of the training.
            answer: layers that the search found; only `ANSWER`, `ROUTED` and `RANDOM` need them.
            share: softmax share of random routes.
        """
        module, *own = self._contender(name, answer, share)
        options = self._config["tuning"]["options"] if stage == TUNING else []
        rates = [f"trainer.learning_rate={rate}", f"trainer.router_learning_rate={rate}"]
        return [module, *self._options, *options, *own, *rates, *self._common(seed, name)]

    def tokens(self, stage: str) -> int:
        """Return the tokens of a training of a stage, all trainings of a search together."""
        options = [] if stage == REPORTED else self._config[stage]["options"]
        found = self._compose(options)
        steps = found.trainer.steps
        if stage == SEARCH:
            own = [*self._options, *self._budget(self._allowed), *options, *self._overrides]
            steps = search_steps(f"+space={ANSWER}", *own)
        return found.data.length * found.data.batch_size * steps

    def _contender(self, name: str, answer: Architecture | None, share: float | None) -> list[str]:
        if name not in (ANSWER, ROUTED, RANDOM):
            return ["nas.train", f"architecture={name}", self._width(name)]
        assert answer is not None, name
        layers = pattern(answer.layers)
        if name == ANSWER:
            return ["nas.train", f"architecture={layers}", self._width(layers)]
        routed = [f"model.routed_layers={softmax_layers(answer)}".replace(" ", ""), self._width(with_routers(layers))]
        if name == RANDOM:
            return [
                "nas.train",
                f"architecture={RANDOM}",
                *routed,
                f"budget.target={max(share or 0.0, LEAST_SHARE):.6f}",
            ]
        budget = self._budget(int(self._config["routed"]["cache"] * self._cache(answer)))
        return ["nas.search", f"+space={ROUTED}", *routed, *budget, *self._config["routed"]["options"]]

    def _common(self, seed: int, name: str) -> list[str]:
        return [f"data.path={self._corpus / TOKENS}", f"seed={seed}", f"name={name}", *self._overrides]

    def _budget(self, target: int) -> list[str]:
        return ["budget=kv_bytes", f"budget.context={self._config['context']}", f"budget.target={target}"]

    @property
    def _allowed(self) -> int:
        """The budget of the search in bytes: the cache of as many softmax layers as a hybrid by hand has."""
        softmax, model = self._config["search"]["softmax_layers"], self._composed.model
        layers = "s" * softmax + "l" * (model.layers - softmax)
        made = baselines.build(layers, model, 1, 1.0)  # the vocabulary plays no part in a cache
        assert made is not None, layers
        return self._cache(made)

    def _cache(self, architecture: Architecture) -> int:
        return kv_bytes(architecture, {}, self._config["context"])

    def _width(self, name: str) -> str:
        """Return the option that gives a contender as many parameters as the largest one."""
        return f"model.mlp_width={widened(self._built(name), self._most).mlp_width}"

    @cached_property
    def _most(self) -> int:
        """The largest number of parameters of a contender; routers count in the layers of a hybrid by hand."""
        every = [*self._config["contenders"]["references"], *self.offsets, with_routers(self.offsets[0])]
        return max(parameters(self._built(name)) for name in every)

    def _built(self, name: str) -> Architecture:
        """Return the architecture of a name at the MLP width of the size."""
        made = baselines.build(name, self._composed.model, self._vocab_size, 1.0)
        assert made is not None, name
        return made

    @cached_property
    def _vocab_size(self) -> int:
        return Folder.read(self._corpus / TOKENS).vocab_size

    @cached_property
    def _composed(self) -> SearchConfig:
        return self._compose([])

    def _compose(self, options: Sequence[str]) -> SearchConfig:
        return compose_search([f"+space={ANSWER}", *self._options, *options, *self._overrides])


def softmax_layers(architecture: Architecture) -> list[int]:
    """Return the indices of the layers of softmax attention."""
    return [index for index, layer in enumerate(architecture.layers) if layer.mixer == Softmax.name]


def with_routers(layers: str) -> str:
    """Return a pattern with routers in its softmax layers.

    >>> with_routers("slls")
    'tllt'
    """
    return layers.replace("s", "t")
