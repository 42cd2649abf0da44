"""What people read of the archive: pages behind signed links, and exports."""
