"""One room for each room of the house, and `system` for the whole of it."""
