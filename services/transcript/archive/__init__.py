"""The archive: one projector reads the topics and writes what they say into a database, exactly once."""
