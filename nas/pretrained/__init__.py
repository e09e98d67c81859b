"""Pretrained models from other libraries: reading their folders, families and weights."""
