"""Numbers as pages, tables and terminals show them: one format for each kind, and a dash for what is not known."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TypeGuard

UNKNOWN = "–"
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters (escape sequences for a terminal, NUL) but tab and newline, turned text, and lone surrogates."""


def printable(text: str) -> str:
    """Text that any terminal, spreadsheet or database can take, whoever wrote it."""
    return UNPRINTABLE.sub("�", text.replace("\r\n", "\n"))


def known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def figure(value: float | None, digits: int = 2, *, unknown: str = UNKNOWN) -> str:
    """0.7312 → 0.73, with a real minus sign."""
    return f"{value:z.{digits}f}".replace("-", "−") if known(value) else unknown


def interval(
    value: float | None, low: float | None, high: float | None, digits: int = 3, *, unknown: str = UNKNOWN
) -> str:
    """0.731 (95 % interval 0.702 to 0.760); the value alone where there is no interval."""
    if not (known(value) and known(low) and known(high)):
        return figure(value, digits, unknown=unknown)
    return f"{figure(value, digits)} (95 % interval {figure(low, digits)} to {figure(high, digits)})"


def share(value: float | None) -> str:
    """0.731 → 73 %."""
    return f"{value:.0%}".replace("%", " %") if known(value) else UNKNOWN


def seconds(value: float | None) -> str:
    """4.216 → 4.2 s."""
    return f"{value:.1f} s" if known(value) else UNKNOWN


def number(count: int) -> str:
    """1234567 → 1 234 567, with spaces that do not break; four digits stay together."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if count >= 10_000 else str(count)


def now() -> str:
    """This moment as the database has it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def moment(stamp: str) -> str:
    """2026-01-05T09:30:00+00:00 → 5 Jan 2026, 09:30; text that is no time stays as it is."""
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    return f"{found.day} {found:%b %Y, %H:%M}"
