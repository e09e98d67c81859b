"""What every page shares: charts, tables, units, templates; and the report of one run."""
