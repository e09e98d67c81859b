"""Import of Lightning as commands do it, for the server process that imports modules for all workers."""

from nas.cli.deferring import quick_imports

with quick_imports():
    pass
