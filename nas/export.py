"""Export: a trained run as a folder that the library transformers loads, without this toolkit.

python -m nas.export run=outputs/search/RUN to=my_model
"""

from nas.cli.start import command
from nas.evaluate import MISSING_RUN

MISSING_FOLDER = "to is missing; give the folder to write. For example: to=my_model"

main = command("export", job="nas.workflows.export:export", missing={"run": MISSING_RUN, "to": MISSING_FOLDER})

if __name__ == "__main__":
    main()
