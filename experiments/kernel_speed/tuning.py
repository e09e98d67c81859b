"""Autotuned kernels whose configurations are compiled at once.

Triton compiles a configuration, times it, and goes on to the next one. A layer of flash-linear-attention has
hundreds of configurations, and a processor with many cores waits for one of them. Here all configurations of a kernel
are compiled by threads before the first one is timed. Which one is chosen does not change.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def compiled_at_once() -> Iterator[None]:
    """Compile the configurations of each kernel that is autotuned in the block in as many threads as there are cores.

    A configuration that cannot be compiled is left to the autotuner, which rejects it.
    """
    from triton import AsyncCompileMode
    from triton.runtime.autotuner import Autotuner

    pruned = Autotuner.prune_configs

    def prune_and_compile(tuner: Autotuner, kwargs: dict[str, Any]) -> list[Any]:
        configs = pruned(tuner, kwargs)
        given = {name: value for name, value in kwargs.items() if name != "warmup"}
        with ThreadPoolExecutor(os.cpu_count()) as threads, AsyncCompileMode(threads, ignore_errors=True):
            for config in configs:
                with suppress(Exception):
                    tuner.fn.warmup(*tuner.nargs.values(), **given, **config.all_kwargs())
        return configs

    Autotuner.prune_configs = prune_and_compile
    try:
        yield
    finally:
        Autotuner.prune_configs = pruned
