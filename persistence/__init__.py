"""Postgres, Redis and Elasticsearch, and the embedded servers."""
