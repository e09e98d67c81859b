"""Train: one architecture from scratch, with the recipe of a search.

python -m nas.train architecture=softmax
python -m nas.train architecture=outputs/search/.../architecture.json
"""

from nas.cli.command import command
from nas.search_spaces import baselines

MISSING_ARCHITECTURE = f"architecture is missing; give a file or one of: {', '.join(baselines.names())}."

main = command("train", job="nas.workflows.train:train", missing={"architecture": MISSING_ARCHITECTURE})

if __name__ == "__main__":
    main()
