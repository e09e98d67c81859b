"""Files on a disk: written completely or not at all, with checksums, and folders locked to one process."""
