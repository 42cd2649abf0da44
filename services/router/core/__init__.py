"""The router's pure core: a deterministic function of its input log."""
