"""Options of the commands, of tasks and of training; `nas.config` registers them with Hydra and restores them."""
