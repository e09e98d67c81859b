"""How fast is a search on a GPU? The default search beside two CPU threads, and a model of real size."""
