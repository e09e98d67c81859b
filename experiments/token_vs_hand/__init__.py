"""Searched token hybrids against hybrids designed by hand, on retrieval tasks and on other tasks."""
