"""Locust's users, a scenario a file: the on-sale, the doors, people who look around."""
