"""Measurements with their bounds: `make bench`."""
