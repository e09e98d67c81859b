"""Measure a search over several GPUs of one machine."""
