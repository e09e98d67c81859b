"""Export of trained runs as folders that the library `transformers` loads."""
