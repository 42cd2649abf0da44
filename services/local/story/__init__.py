"""A chat's story: read from the topics or a file, told in Japanese and English, and why an agent was not chosen."""
