"""Options that decide where and how much is computed, not what is computed.

Code that compares two configs, or that takes options from another run, leaves some of these out.
"""

FOLDER = ("resume", "output", "name")
"""Options for the run folder."""
PLACES = ("data.path",)
"""Options for paths of data, which differ between machines."""
CODE = ("plugins",)
"""Options for modules of plugins, which another machine may have installed as packages."""
PROCESSES = ("trainer.strategy", "trainer.devices", "trainer.num_nodes", "trainer.context_parallel")
"""Options for the processes of a run."""
DEVICE = ("trainer.accelerator", "trainer.precision", "trainer.cuda_graphs", "trainer.activation_checkpointing")
"""Options for the device and the precision of each process."""
MACHINE = (*PROCESSES, *DEVICE)
"""Options that depend on the machine."""
AMOUNT = ("sweep.trials", "sweep.workers", "sweep.retries", "workers", "seeds", "timing")
"""Options for the amount of work of a sweep or a comparison, and how much of it runs at a time."""
