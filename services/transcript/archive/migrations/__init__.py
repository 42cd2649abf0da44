"""The archive's schema over time; `archive.migrate` runs it."""
