"""Tokenised text on disk: folders of memory-mapped shards, and the vocabulary of their tokens."""
