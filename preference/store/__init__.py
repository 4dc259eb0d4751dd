"""The database: one by URL, SQLite or PostgreSQL; records in, records out.

`Store.open(url)` connects and brings the tables up to date. `store.py` writes, `reading.py` reads, `counting.py`
counts.
"""

from preference.store.store import Store

__all__ = ["Store"]
