"""The edge, over real HTTP against a real server."""
