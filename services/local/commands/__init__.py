"""The commands of `chat-routing`, one module each; `services.local.cli` registers them."""
