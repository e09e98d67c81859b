"""How fast the report of a large run opens and answers in a browser."""
