"""The database: one by URL, SQLite or PostgreSQL; records in, records out."""

from preference.store.store import AssignmentView, Store

__all__ = ["AssignmentView", "Store"]
