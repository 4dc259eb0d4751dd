"""Numbers and sentences as the report prints them; a figure that is not known is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime


def figure(value: float | None, digits: int = 2) -> str:
    return "–" if not known(value) else f"{value:.{digits}f}".replace("-", "−")


def share(value: float | None) -> str:
    return "–" if not known(value) else f"{value:.0%}".replace("%", " %")


def seconds(value: float | None) -> str:
    return "–" if not known(value) else f"{value:.1f} s"


def percent(place: float) -> str:
    """A place on an axis from 0 to 1, as SVG's percentage; what lies outside is drawn at the end."""
    return f"{100 * min(max(place, 0.0), 1.0):.2f}%"


def about(sentence: str, name: str) -> str:
    """A flag's sentence under its annotator's name, which it need not repeat."""
    rest = sentence.removeprefix(f"{name} ")
    return rest[:1].upper() + rest[1:]


def number(count: int) -> str:
    """1234567 → 1 234 567, with spaces that do not break."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if count >= 10_000 else str(count)


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def moment(name: str) -> str:
    """2026-01-05T09:30:00+00:00 → 5 Jan 2026, 09:30; what is no time stays."""
    try:
        found = datetime.fromisoformat(name)
    except ValueError:
        return name
    return f"{found.day} {found:%b %Y, %H:%M}"


def known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


FILTERS: dict[str, Callable[..., str]] = {
    "figure": figure, "share": share, "seconds": seconds, "percent": percent, "about": about, "number": number,
    "moment": moment,
}  # fmt: skip
"""For the template."""
