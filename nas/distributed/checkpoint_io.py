"""Write Lightning's checkpoints beside their final place, not through the folder for temporary files."""

from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


class LocalCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to its path directly.

    Lightning writes through fsspec, which first fills a file in $TMPDIR: often a small disk, and its errors name the
    run folder instead. `nas.files.saving.replacing` makes the write atomic.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; ``storage_options`` has no effect.

        Raises:
            OSError: the disk is full.
        """
        with open(path, "wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch raises it while it handles the OSError of a tensor
                refused = error.__context__
                if not isinstance(refused, OSError):
                    raise
                raise OSError(refused.errno, refused.strerror, path) from error
