"""Zoho CRM, by its REST API."""
