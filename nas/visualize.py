"""Visualize: a finished run, sweep or comparison as one page that opens by double click.

python -m nas.visualize run=outputs/search/RUN
"""

from nas.cli.start import command

MISSING_RUN = "run is missing; give the folder of a run. For example: run=outputs/search/RUN"

main = command("visualize", job="nas.pages:visualize", missing={"run": MISSING_RUN})

if __name__ == "__main__":
    main()
