"""What `python -m nas.sweep` is made of: ranges, the study and its workers, a trial, the answer."""
