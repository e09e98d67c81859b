"""A search and a training from data to report, for their commands, for sweeps and for comparisons."""
