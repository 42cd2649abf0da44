"""Adds partitions to the topics, and moves the state of the workspaces whose records lie elsewhere from then on."""
