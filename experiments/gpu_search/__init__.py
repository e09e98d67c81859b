"""How fast is a search on a GPU? The default search against two CPU threads, and a 340M model."""
