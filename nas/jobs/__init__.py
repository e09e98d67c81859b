"""Several trainings at a time on one machine: their processes, the events that they report, and the display."""
