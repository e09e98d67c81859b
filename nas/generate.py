"""Generate: text from a trained run, streamed, at any share of softmax.

python -m nas.generate run=outputs/search/RUN prompt="def main("
"""

from nas.cli.start import command
from nas.evaluate import MISSING_RUN

MISSING_PROMPT = "prompt is missing; give a text to continue, as in prompt=hello, or prompts=FILE with one a line."

main = command(
    "generate", job="nas.workflows.generate:generate", missing={"run": MISSING_RUN, "prompt,prompts": MISSING_PROMPT}
)

if __name__ == "__main__":
    main()
