"""Compare: searched architectures and hand-designed hybrids, each trained from scratch over several seeds.

python -m nas.compare runs=[outputs/search/RUN] baselines=[softmax,linear]
"""

from nas.cli.start import command

main = command("compare", job="nas.comparisons.run:compare", missing={})

if __name__ == "__main__":
    main()
