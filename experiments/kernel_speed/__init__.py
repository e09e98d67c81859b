"""How fast are the kernels? Side by side with their peers, and against the limit of the hardware."""
