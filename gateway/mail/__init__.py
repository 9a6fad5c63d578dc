"""Mails: what they say, how they are made, and how they leave the house."""
