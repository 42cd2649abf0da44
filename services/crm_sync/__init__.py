"""CRM sync: puts conversations into the activity feed of the visitor's lead or contact, once."""
