"""Prepare: text, tables and folders become shards of tokens that training reads without loading them.

python -m nas.prepare input=PATH output=DIR
"""

from nas.cli.start import command

MISSING = {
    "input": "input is missing; give a file or folder of text. For example: input=my_corpus/ output=tokens",
    "output": "output is missing; give the folder of the shards. For example: input=my_corpus/ output=tokens",
}

main = command("prepare", job="nas.preparing.run:prepare", missing=MISSING)

if __name__ == "__main__":
    main()
