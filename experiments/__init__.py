"""Studies: a folder each, with the script that makes its table and the table as it was measured."""
