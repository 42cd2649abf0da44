"""Transcripts: assembles each conversation, archives it, shows it."""
