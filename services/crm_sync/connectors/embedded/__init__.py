"""The embedded CRM: people and their feeds in a database of ours, with pages to look at them."""
