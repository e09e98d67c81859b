"""Time a finished run: seconds per token of a prompt and per generated token.

python -m experiments.small_lm.timing RUN CONTEXT FILE
"""

import argparse
import json
import sys
from pathlib import Path

from experiments.runs import status_of
from nas.comparisons.finish import timing
from nas.config import restore
from nas.files.saving import replacing
from nas.results.opened import command_of
from nas.runs.folder import Run


def main() -> None:
    """Parse the command line, time the run and write the times as JSON, unless the file exists."""
    parser = argparse.ArgumentParser(prog="python -m experiments.small_lm.timing", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("context", type=int, help="tokens of the prompt, and before the generated tokens")
    parser.add_argument("file", type=Path, help="file for the times")
    given = parser.parse_args()
    if given.file.exists():
        return
    config = restore(command_of("run", str(given.run)), Run(given.run).config())
    found = timing(given.run, config, given.context)
    with replacing(given.file) as temporary:
        temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(status_of(main))
