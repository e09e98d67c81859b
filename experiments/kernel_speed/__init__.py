"""What the kernels cost beside their peers, in one process on one machine, and against the hardware's limit."""
