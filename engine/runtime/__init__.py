"""The actors: asyncio, but no drivers. What the world must offer stands in `ports.py`."""
