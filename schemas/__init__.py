"""The contract between the services and everybody who publishes to or reads from their topics."""
