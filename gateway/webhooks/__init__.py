"""Webhooks out: organizers' servers hear what has happened."""
