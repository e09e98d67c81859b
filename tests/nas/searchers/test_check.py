"""What is refused before anything is trained, and how a searcher sets the relaxation."""

from pathlib import Path

import pytest

from nas import search_spaces
from nas.errors import UserError
from nas.searchers import check_searcher
from tests.nas.commands import SMALL, composed, refusal

SPACE = ("+space=layer_hybrid", *SMALL, "model.layers=3", "budget.target=0.7")


@pytest.mark.parametrize(
    ("options", "given", "advice"),
    [
        (
            ("searcher=annealing",),
            "searcher=annealing is unknown",
            "choose one of: evolution, gradient, halving, optuna, pairs, random, rule.",
        ),
        (
            ("searcher=random", "searcher.name=other"),
            "searcher.name=other is unknown",
            "choose one of: gradient, halving, rule, random",
        ),
        (
            ("searcher=random", "searcher.sampler=TPE"),
            "searcher.sampler is not an option",
            "searcher has: name, select_at, evaluat",
        ),
        (("searcher=random", "searcher.evaluations=0"), "searcher.evaluations=0 is not allowed", "give 1 or more"),
        (("searcher=optuna", "searcher.batches=0"), "searcher.batches=0 is not allowed", "give 1 or more"),
        (("searcher=evolution", "searcher.population=0"), "searcher.population=0 is not allowed", "give 1 or more"),
        (("searcher=evolution", "searcher.sample=0"), "searcher.sample=0 is not allowed", "give 1 or more"),
        (
            ("searcher=evolution", "searcher.sample=17"),
            "searcher.sample=17 is more than searcher.population=16",
            "most",
        ),
        (("searcher=evolution", "searcher.evaluations=9"), "searcher.population=16 is more than", "a smaller popul"),
        (("searcher=optuna", "searcher.sampler=Best"), "searcher.sampler=Best is unknown", "choose one of: "),
        (("searcher=optuna", "+searcher.sampler_options.a=1"), "searcher.sampler_options has a", "it takes: "),
        (
            ("searcher.select_at=0.4", "budget.dense_until=0.4"),
            "searcher.select_at=0.4 selects before the options of the layers have been trained",
            "give budget.dense_until=0.2, or a larger",
        ),
        (
            ("budget.start=drawn",),
            "budget.start=drawn draws the options of layers until an architecture is selected",
            "give searcher.select_at=0.6, or budget.start=most_expensive",
        ),
        (
            ("budget.start=drawn", "searcher.select_at=0.6", "budget.distillation=1", "budget.dense_until=0.5"),
            "budget.distillation=1 distils the model of the dense phase, but with budget.start=drawn",
            "give budget.start=most_expensive or budget.distillation=0",
        ),
        (("searcher.select_at=0",), "searcher.select_at=0.0 is not allowed", "give a number over 0 and at most 1"),
        (
            ("space.operations=[token_hybrid]", "searcher.select_at=0.5"),
            "searcher.select_at=0.5 selects nothing: in layer_hybrid every layer has one option here",
            "give searcher.select_at=1, or a space",
        ),
        (
            ("searcher=random", "searcher.tolerance=1", "budget.exact=true"),
            "searcher.tolerance=1 prefers cheaper architectures, but with budget.exact=true all cost the same",
            "give searcher.tolerance=null, or budget.exact=false",
        ),
        (
            ("relaxation=uniform",),
            "relaxation=uniform does not train the architecture logits",
            "halving, rule, random, evolution, optuna",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_cannot_work(tmp_path: Path, options: tuple[str, ...], given: str, advice: str) -> None:
    message = refusal("search", *SPACE, *options, f"output={tmp_path / 'outputs'}")
    assert given in message
    assert advice in message
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("searcher", ["random", "evolution", "optuna"])
def test_a_space_of_one_architecture_has_nothing_to_choose(tmp_path: Path, searcher: str) -> None:
    message = refusal("search", "+space=token_hybrid", *SMALL, f"searcher={searcher}", f"output={tmp_path / 'outputs'}")
    assert f"searcher={searcher} has nothing to search: token_hybrid is a single architecture" in message
    assert "give searcher=gradient, a space in which layers have several options, or searcher=halving" in message
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("options", "relaxation"),
    [
        (("+space=token_hybrid",), "argmax_ste"),
        (("+space=token_hybrid", "relaxation=gumbel"), "gumbel"),
        (("+space=layer_hybrid",), "gumbel"),
        (("+space=joint",), "uniform"),
        (("+space=joint", "searcher=pairs"), "gumbel"),
        (("+space=chunk_size", "relaxation=gdas"), "gdas"),
        (("+space=joint", "searcher=random"), "uniform"),
        (("searcher=evolution", "+space=layer_hybrid"), "uniform"),
        (("+space=chunk_size", "searcher=optuna", "relaxation=darts"), "darts"),
        (("relaxation=drnas", "searcher=random", "+space=joint"), "drnas"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_searcher_says_how_weights_are_trained_unless_the_user_does(
    options: tuple[str, ...], relaxation: str
) -> None:
    assert composed("search", *options).relaxation.name == relaxation


def test_shards_of_weights_cannot_be_scored_during_training() -> None:
    config = composed("search", *SPACE, "searcher.select_at=0.4", "trainer.strategy=fsdp")
    with pytest.raises(UserError, match=r"strategy=fsdp\); give searcher.select_at=1, or trainer.strategy=ddp"):
        check_searcher(config, search_spaces.build(config.space, config.model, 24))
