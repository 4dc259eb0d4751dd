"""Where settings leave the ranges that the protocol names: a `Config` in, a sentence for each of them out."""

from __future__ import annotations

from operator import attrgetter

from preference.config import Config

RANGES: dict[str, tuple[float, float, str]] = {
    "pairs.batch": (200, 500, "pairs in a batch"),
    "pairs.duplicates": (0.05, 0.10, "share of repeated pairs"),
    "pairs.overlap": (2, 3, "annotators per pair"),
    "calibration.pairs": (30, 50, "pairs of a calibration set"),
    "active.pairs": (50, 100, "pairs in a round"),
}
"""Setting → smallest and largest value, and what it is."""


def outside_protocol(config: Config, *sections: str) -> list[str]:
    """A sentence for each setting that is outside its range; only of these `sections`, if any are given."""
    said = []
    for name, (low, high, what) in RANGES.items():
        if sections and name.partition(".")[0] not in sections:
            continue
        value = attrgetter(name)(config)
        if not low <= value <= high:
            said.append(f"{name} = {value:g} ({what}) is outside the protocol's {low:g} to {high:g}.")
    return said
