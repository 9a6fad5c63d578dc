"""The HTTP edge: decode, ask, encode."""
