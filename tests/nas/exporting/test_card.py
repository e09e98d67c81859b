"""The model card of an export."""

from pathlib import Path

import yaml

from tests.nas.commands import Ended
from tests.nas.test_export import exported


def test_the_card_says_how_the_model_was_found(search: Ended, tmp_path: Path) -> None:
    exported(search.run, tmp_path / "model")
    card = (tmp_path / "model/README.md").read_text()
    words = " ".join(card.split())
    front = yaml.safe_load(card.split("---")[1])
    assert (front["library_name"], front["tags"][-1]) == ("transformers", "custom_code")
    for text in (
        "| search space | token_hybrid |",
        "| 0 | token_hybrid | 8 |",
        "recall at 64 tokens",
        "searched routing",
        "trust_remote_code=True",
        "The tokens of the task recall are no text",
        "hf upload YOUR_NAME/model .",
    ):
        assert text in words
