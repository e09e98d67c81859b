"""Measured latencies of layers: the table by which a budget limits the milliseconds of a model."""
