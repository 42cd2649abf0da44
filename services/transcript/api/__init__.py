"""The read API: what programs and consoles ask of the archive, each within its rights."""
