"""Zendesk Sell, by its API v2."""
