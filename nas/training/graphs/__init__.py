"""Training steps and blocks as CUDA graphs."""
