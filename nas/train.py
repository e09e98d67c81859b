"""Train: one architecture from scratch, with the recipe of a search.

python -m nas.train architecture=softmax
python -m nas.train architecture=outputs/search/.../architecture.json
"""

from nas.cli.start import command


def _missing_architecture() -> str:
    from nas.search_spaces import baselines

    return f"architecture is missing; give a file or one of: {', '.join(baselines.names())}."


main = command("train", job="nas.workflows.train:train", missing={"architecture": _missing_architecture})

if __name__ == "__main__":
    main()
