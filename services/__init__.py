"""The workers (router, notifier, transcript, crm_sync), what they stand on, and the local installation."""
