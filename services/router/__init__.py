"""The router: decides which agent gets which chat, and when a chat is missed."""
