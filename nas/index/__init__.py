"""The index page: all runs below a folder on one page."""
