"""Noticing trouble before the user does, and saying so."""
