"""A small language model on C sources: searched hybrids against hybrids by hand, at 30 and 60 million parameters."""
