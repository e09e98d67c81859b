"""Search: supernet, then an architecture within the budget, then its report.

python -m nas.search +space=token_hybrid
"""

from nas.cli.start import command

MISSING_SPACE = "space is missing; choose one of: ${choices:space}. For example: +space=token_hybrid"

main = command("search", job="nas.workflows.search:search", missing={"space": MISSING_SPACE})

if __name__ == "__main__":
    main()
