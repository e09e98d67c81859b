"""Training: the module that Lightning trains, callbacks, checkpoints and loggers."""
