"""Options that say where, on what and how far something is computed, rather than what is computed.

Whoever compares two configs, or takes options over from another run, sets some of these apart.
"""

FOLDER = ("resume", "output", "name")
"""Where a run is kept."""
PLACES = ("data.path",)
"""Where a machine keeps what a run reads."""
CODE = ("plugins",)
"""Which modules add spaces, operations, tasks and searchers; they may be installed in another way elsewhere."""
PROCESSES = ("trainer.strategy", "trainer.devices", "trainer.num_nodes")
"""Over which processes a run is spread."""
DEVICE = ("trainer.accelerator", "trainer.precision", "trainer.cuda_graphs")
"""On what each process computes, and in which precision."""
MACHINE = (*PROCESSES, *DEVICE)
"""What belongs to the machine, wherever a run was made."""
AMOUNT = ("sweep.trials", "sweep.workers", "sweep.retries", "workers", "seeds", "timing")
"""How much a sweep or a comparison computes, and how much of it at a time."""
