"""Search: supernet, then an architecture within the budget, then its report.

python -m nas.search +space=token_hybrid
"""

from nas import search_spaces
from nas.cli.command import command

MISSING_SPACE = f"space is missing; choose one of: {', '.join(search_spaces.names())}. For example: +space=token_hybrid"

main = command("search", job="nas.workflows.search:search", missing={"space": MISSING_SPACE})

if __name__ == "__main__":
    main()
