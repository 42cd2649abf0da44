"""For how long the router knows a chat that is over (the contract, Memory): whoever asks something of it later gets `unknown_chat`.

The one rule: what is counted from is the log's time, in which the chat ended.
"""

KNOWN_CLOSED_S = 24 * 3600
KNOWN_MISSED_S = 30 * 24 * 3600
