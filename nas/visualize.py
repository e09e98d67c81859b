"""Visualize: a run, sweep or comparison, or the index of all runs, as one page that opens by double click.

python -m nas.visualize run=outputs/search/RUN
python -m nas.visualize runs=outputs
"""

from nas.cli.start import command

MISSING_RUN = (
    "run is missing; give the folder of a run. For example: run=outputs/search/RUN, or runs=outputs for all runs."
)

main = command("visualize", job="nas.pages.visualize:visualize", missing={"run,runs": MISSING_RUN})

if __name__ == "__main__":
    main()
