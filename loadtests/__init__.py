"""The demo, its audit of the ledger, and the HTTP client that puts a server under load."""
