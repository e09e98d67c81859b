"""Options of runs on a CUDA GPU."""

from tests.nas.commands import SEARCH

CHUNKS = ("model.chunk_size=16", "data.length=128", "data.min_length=64", "data.block_size=16")
ON_GPU = (*(option for option in SEARCH if option != "trainer.accelerator=cpu"), *CHUNKS, "trainer.devices=1")
"""The small search on a GPU, with chunks that Triton's kernels take."""
