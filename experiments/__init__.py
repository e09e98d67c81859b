"""Studies: a folder each, with the script that makes its table and the committed table."""
