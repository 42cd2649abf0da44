"""Everything on one machine: embedded broker, sample day, and the `chat-routing` command line."""
