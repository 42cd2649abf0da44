"""A Tryton on this machine, for trying out and for tests: its environment, its database, its server."""
