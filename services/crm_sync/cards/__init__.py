"""What a CRM knows of a chat's visitor, for agents."""
