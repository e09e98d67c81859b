"""Options of tasks and of training; `nas.config` has the options of the commands and of all groups."""
