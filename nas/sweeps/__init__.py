"""The parts of `python -m nas.sweep`: ranges, the study and its workers, a trial, and the results."""
