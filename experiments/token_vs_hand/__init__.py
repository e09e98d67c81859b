"""Searched token hybrids against hybrids designed by hand, on tasks that ask for retrieval and on tasks that do not."""
