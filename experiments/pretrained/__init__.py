"""Search hybrids of two pretrained models, a small Llama of our own and Gemma 3 270M, at fractions of their cache."""
