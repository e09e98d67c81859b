"""One trained model at a range of costs: thresholds of its routers by the share of chunks that they keep."""
