"""Connectors to vendors, each against a local server that holds requests to the rules the vendor has published."""
