"""Options that decide where and how much is computed, not what is computed.

Code that compares two configs, or that takes options from another run, leaves some of these out.
"""

FOLDER = ("resume", "output", "name")
"""Options for the run folder."""
PLACES = ("data.path", "data.tokenizer", "model.path")
"""Options for paths of data and of a pretrained model, which differ between machines."""
CODE = ("plugins",)
"""Options for modules of plugins, which another machine may have installed as packages."""
PROCESSES = ("trainer.strategy", "trainer.devices", "trainer.num_nodes", "trainer.context_parallel")
"""Options for the processes of a run."""
DEVICE = (
    *("trainer.accelerator", "trainer.precision", "trainer.cuda_graphs", "trainer.activation_checkpointing"),
    *("trainer.accumulate", "trainer.compile"),
)
"""Options for the device and the precision of each process, and for how it computes a step."""
MACHINE = (*PROCESSES, *DEVICE)
"""Options that depend on the machine."""
LOGGING = tuple(f"logger.{name}" for name in ("csv", "wandb", "mlflow", "project", "entity", "offline", "tracking_uri"))
"""Options for the loggers."""
AMOUNT = ("sweep.trials", "sweep.workers", "sweep.retries", "workers", "seeds", "timing")
"""Options for the amount of work of a sweep or a comparison, and how much of it runs at a time."""
