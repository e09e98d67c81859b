"""Charts, tables, units and templates of all pages, and the report of one run."""
