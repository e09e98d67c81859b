"""A whole search and a whole training, for their commands, for sweeps and for comparisons."""
