"""What may go wrong on somebody's machine. One rule: the message is one sentence, and it says what to do."""


class LocalError(Exception):
    """An operating error of the local installation; the command line prints its message and exits with 1."""
