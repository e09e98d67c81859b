import importlib.util
from types import ModuleType

import pytest

from tests.docs.snippets import ROOT


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_folder_becomes_its_files(hooks: ModuleType) -> None:
    page = hooks.on_page_markdown("before\n\n{{ conf/space }}\n\nafter", page=None)
    assert page.startswith('before\n\n```yaml title="conf/space/chunk_size.yaml"\n')
    assert page.endswith("```\n\nafter")
    assert (ROOT / "conf/space/joint.yaml").read_text().strip() in page


def test_a_file_becomes_itself(hooks: ModuleType) -> None:
    page = hooks.on_page_markdown("{{ conf/train.yaml }}")
    assert page == f'```yaml title="conf/train.yaml"\n{(ROOT / "conf/train.yaml").read_text().rstrip()}\n```'


def test_an_unknown_folder_is_an_error(hooks: ModuleType) -> None:
    with pytest.raises(FileNotFoundError, match="conf/nothing has no YAML file"):
        hooks.on_page_markdown("{{ conf/nothing }}")


def test_other_pages_stay(hooks: ModuleType) -> None:
    assert hooks.on_page_markdown("a {{ conf/space }} b") == "a {{ conf/space }} b"
