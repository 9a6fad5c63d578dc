"""What the business is: pure rules here, the asyncio runtime that hosts them in `runtime/`."""
