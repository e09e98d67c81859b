"""Fill the page of options: a line ``{{ conf/space }}`` becomes the YAML files of that folder, one block each."""

import re
from pathlib import Path
from typing import Any

PLACE = re.compile(r"^\{\{ (conf/\w+(?:\.yaml)?) \}\}$", re.MULTILINE)
ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each place by the files that it names; mkdocs calls this for every page."""
    return PLACE.sub(lambda place: _blocks(ROOT / place[1]), markdown)


def _blocks(path: Path) -> str:
    files = [path] if path.is_file() else sorted(path.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"{path} has no YAML file")
    return "\n\n".join(
        f'```yaml title="{file.relative_to(ROOT)}"\n{file.read_text(encoding="utf-8").rstrip()}\n```' for file in files
    )
