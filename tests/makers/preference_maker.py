"""Resolved labels of one's own in a workspace's database."""

from preference.records import Resolution


def put_preferences(ws, preferences):
    """As if `robopref resolve` had found exactly these."""
    left_out = {"pending": [], "dropped": [], "judgments": 0, "changed": 0, "vanished": 0, "gained": 0, "pairs": []}
    ws.store.put_resolution(Resolution("vote", left_out, []), preferences)
