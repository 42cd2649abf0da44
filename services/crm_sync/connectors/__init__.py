"""Connectors to CRMs: one interface (`interface`), and one module for each CRM that speaks it."""
