"""Who decides, when and why: what is recorded of every decision of a manager."""

from __future__ import annotations

from preference.errors import UsageError
from preference.formats import now


def signature(by: str, why: str) -> tuple[str, str, str]:
    """(who, the moment now in ISO 8601 and UTC, why).

    Raises:
        UsageError: who or why is not said.
    """
    if not by.strip() or not why.strip():
        raise UsageError("Who decides and why is recorded.", fix="Give both --by and --why.")
    return by.strip(), now(), why.strip()


def signed(by: str, why: str) -> str:
    """The same as half a sentence: "maria, 2026-03-01: was ill"."""
    who, at, reason = signature(by, why)
    return f"{who}, {at[:10]}: {reason}"
