"""Evaluate: a trained run at several shares of softmax, beside other runs, or on suites of tasks.

python -m nas.evaluate run=outputs/search/RUN share=[0.02,0.05,0.1,0.2]
"""

from nas.cli.start import command

MISSING_RUN = "run is missing; give the folder of a finished run. For example: run=outputs/search/RUN"
MISSING_MEASURE = "suite and share are missing; give one of them. For example: share=[0.02,0.05,0.1,0.2]"

main = command(
    "evaluate", job="nas.workflows.evaluate:evaluate", missing={"run": MISSING_RUN, "suite,share": MISSING_MEASURE}
)

if __name__ == "__main__":
    main()
