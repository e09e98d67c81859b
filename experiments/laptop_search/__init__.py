"""Is the laptop's default search right? Searched, all-softmax and all-linear models on the same data."""
