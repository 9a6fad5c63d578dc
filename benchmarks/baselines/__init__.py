"""The designs we measure ourselves against, behind the same HTTP server."""
