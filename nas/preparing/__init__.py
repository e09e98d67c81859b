"""Text becomes shards of tokens: files are planned into units, workers encode them, a record keeps what is finished."""
